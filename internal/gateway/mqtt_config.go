package gateway

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/longline/longline/internal/gateway/mqtt"
	"github.com/longline/longline/internal/reactor"
)

// MQTT has the options of MQTT. MQTT over WebSocket works on the device port without any.
type MQTT struct {
	Listen          string `yaml:"listen" help:"address for MQTT over TCP, such as :1883; off when left out"`
	TLSListen       string `yaml:"tls_listen" help:"address for MQTT over TLS, such as :8883, with the certificate of gateway.tls; off when left out"`
	TopicAliases    int    `yaml:"topic_aliases" help:"topic aliases per connection and direction"`
	Address         string `yaml:"address" help:"where devices of MQTT 5 reach this node past any balancer, such as gw-1.example.com:8883; other nodes of the cluster send devices there that are to connect to this one"`
	ServerReference string `yaml:"server_reference" help:"server to which MQTT 5 devices are redirected while the gateway is drained, such as other.example.com:8883"`
}

// WithDefaults returns m with the defaults in place of zero fields.
func (m MQTT) WithDefaults() MQTT {
	m.TopicAliases = cmp.Or(m.TopicAliases, 16)
	return m
}

// maxTopicAliases bounds the search in a table of aliases.
const maxTopicAliases = 1024

// Validate returns what is wrong with m, after WithDefaults. secure reports whether TLS is configured. The error
// begins with the key.
func (m MQTT) Validate(secure bool) error {
	switch {
	case m.Listen != "" && !isAddress(m.Listen):
		return fmt.Errorf("listen: want host:port, such as :1883, not %q", m.Listen)
	case m.TLSListen != "" && !isAddress(m.TLSListen):
		return fmt.Errorf("tls_listen: want host:port, such as :8883, not %q", m.TLSListen)
	case m.Address != "" && !isAddress(m.Address):
		return fmt.Errorf("address: want host:port, such as gw-1.example.com:8883, not %q", m.Address)
	case m.TLSListen != "" && !secure:
		return errors.New("tls_listen: needs gateway.tls.cert and gateway.tls.key")
	case m.TopicAliases < 1 || m.TopicAliases > maxTopicAliases:
		return fmt.Errorf("topic_aliases: want 1 to %d, not %d", maxTopicAliases, m.TopicAliases)
	}
	return nil
}

// listeners returns the listeners of MQTT, that over TCP first.
func (m MQTT) listeners() (all []reactor.Listener) {
	handler := func(l *reactor.Loop) reactor.Handler { return mqtt.NewStream(l.Local.(*shard).mqtt) }
	if m.Listen != "" {
		all = append(all, reactor.Listener{Name: "MQTT port (gateway.mqtt.listen)", Listen: m.Listen, NewHandler: handler})
	}
	if m.TLSListen != "" {
		all = append(all, reactor.Listener{Name: "MQTT port with TLS (gateway.mqtt.tls_listen)", Listen: m.TLSListen, NewHandler: handler, TLS: true})
	}
	return all
}
