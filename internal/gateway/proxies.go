package gateway

import (
	"fmt"

	"github.com/longline/longline/internal/proxyproto"
)

// Proxies are the proxies that the gateway trusts to say who connects through them.
type Proxies struct {
	Protocol  []string `yaml:"protocol" help:"addresses and prefixes, such as 10.0.0.0/8, whose connections begin with a PROXY protocol header, version 1 or 2, before TLS; one without the header is closed"`
	Forwarded []string `yaml:"forwarded" help:"addresses and prefixes of proxies whose X-Forwarded-For the gateway trusts"`
}

// Validate returns what is wrong with p. The error begins with the key.
func (p Proxies) Validate() error {
	if _, err := proxyproto.ParseTrusted(p.Protocol); err != nil {
		return fmt.Errorf("protocol: %w", err)
	}
	if _, err := proxyproto.ParseTrusted(p.Forwarded); err != nil {
		return fmt.Errorf("forwarded: %w", err)
	}
	return nil
}
