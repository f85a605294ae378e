package gateway

import (
	"strings"
	"testing"

	"github.com/longline/longline/internal/wire/mqtt"
)

// A topic that is too long is refused by its alias as by its name, and the alias keeps no more of it than of the longest
// that is allowed: else a client holds 64 KB by each.
func TestAliasOfALongTopic(t *testing.T) {
	const longest = 20
	s := settings{}
	s.sessions.Topics.Length = longest
	eachWay(t, fives, s, func(w *mqttWorld) {
		p := w.client("a")
		for _, topic := range []string{strings.Repeat("a", 60_000), "", strings.Repeat("ü", longest), "", strings.Repeat("€", longest), ""} {
			packet := saying(topic+"=x", 1, 7)
			packet.Properties.TopicAlias = 1
			p.say(packet)
			if got := p.take(mqtt.Puback); got.Reason != mqtt.TopicNameInvalid {
				w.t.Errorf("%.3s: %s", topic, show(got))
			}
		}
	})
}
