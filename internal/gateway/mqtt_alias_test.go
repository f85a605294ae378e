package gateway

import (
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// A connection lives for months, and so does what its aliases stand for.
func TestAliasKeepsNoPayload(t *testing.T) {
	m := (&message.Message{Topic: "t/1", Payload: make([]byte, 200_000)}).Clone()
	var r mqttRare
	r.tell(m.Topic)
	if got := r.outbound[0]; got != "t/1" || unsafe.StringData(got) == unsafe.StringData(m.Topic) {
		t.Errorf("alias 1 is %q, in the memory of the message", got)
	}
}

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
	w := newWorld(t, s)
	c := &mqttDevice{connection: connection{shard: &shard{gateway: w.gateway}}}
	for _, name := range []string{"a", "ü", "€", "\U0001f600"} {
		for _, before := range []string{"", "b", "bb", "bbb"} {
			p := &mqtt.Packet{Topic: before + strings.Repeat(name, 1000), Properties: mqtt.Properties{TopicAlias: 1}}
			if err := c.resolve(p); err != nil {
				t.Fatal(err)
			}
			if kept := c.rare.inbound[0]; len(kept) <= longest || len(kept) > longest+4 || !utf8.ValidString(kept) {
				t.Errorf("%d bytes of %q... are kept", len(kept), kept[:5])
			}
		}
	}
}
