package gateway

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/longline/longline/internal/gateway/mqtt"
	"github.com/longline/longline/internal/reactor"
)

// MQTT is what the gateway needs to know of MQTT. Over WebSocket it is spoken on the device
// port without any of it.
type MQTT struct {
	Listen          string `yaml:"listen" help:"address for MQTT over TCP, such as :1883; without it there is none"`
	TLSListen       string `yaml:"tls_listen" help:"address for MQTT over TLS, such as :8883, with the certificate of gateway.tls; without it there is none"`
	TopicAliases    int    `yaml:"topic_aliases" help:"topic aliases that a connection may have in each direction"`
	ServerReference string `yaml:"server_reference" help:"where a device of MQTT 5 is sent when the gateway is drained, such as other.example.com:8883"`
}

// WithDefaults returns m with the defaults in place of zero fields.
func (m MQTT) WithDefaults() MQTT {
	m.TopicAliases = cmp.Or(m.TopicAliases, 16)
	return m
}

// maxTopicAliases bounds what a table of aliases is searched for.
const maxTopicAliases = 1024

// Validate names what cannot be, after WithDefaults. The error begins with the key.
func (m MQTT) Validate(secure bool) error {
	switch {
	case m.Listen != "" && !isAddress(m.Listen):
		return fmt.Errorf("listen: want host:port, such as :1883, not %q", m.Listen)
	case m.TLSListen != "" && !isAddress(m.TLSListen):
		return fmt.Errorf("tls_listen: want host:port, such as :8883, not %q", m.TLSListen)
	case m.TLSListen != "" && !secure:
		return errors.New("tls_listen needs gateway.tls.cert and gateway.tls.key")
	case m.TopicAliases < 1 || m.TopicAliases > maxTopicAliases:
		return fmt.Errorf("topic_aliases: want 1 to %d, not %d", maxTopicAliases, m.TopicAliases)
	}
	return nil
}

// listeners are those of MQTT alone: first that over TCP.
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
