package mqtt

import (
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire/mqtt"
)

// A connection lives for months, and so does what its aliases stand for.
func TestAliasKeepsNoPayload(t *testing.T) {
	m := (&message.Message{Topic: "t/1", Payload: make([]byte, 200_000)}).Clone()
	var r rare
	r.addAlias(m.Topic)
	if got := r.outbound[0]; got != "t/1" || unsafe.StringData(got) == unsafe.StringData(m.Topic) {
		t.Errorf("alias 1 is %q, in the memory of the message", got)
	}
}

// What an alias keeps of a topic that is too long still is too long, and whole characters.
func TestAliasKeepsLittleOfALongTopic(t *testing.T) {
	const longest = 20
	memory := store.NewMemory(store.Options{})
	var config session.Config
	config.Topics.Length = longest
	sessions, err := session.NewManager(config, router.New(router.Config{}, memory), memory, memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sessions.Close)
	c := &Device{shard: &Shard{server: New(Config{TopicAliases: 16}, &door.Door{Sessions: sessions})}}
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
