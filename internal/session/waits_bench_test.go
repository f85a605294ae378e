package session

import (
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// posting is a connection whose posts the benchmark runs, and whose device acknowledges what it gets.
type posting struct {
	quiet
	loop  *Loop
	posts []func()
	owed  []uint64
}

func (c *posting) Do(f func()) bool { c.posts = append(c.posts, f); return true }

func (c *posting) Send(m *message.Message, _ message.QoS) bool {
	c.owed = append(c.owed, m.ID)
	return true
}

func (c *posting) run() {
	for i := range c.posts {
		c.posts[i]()
	}
	c.posts = c.posts[:0]
}

// The way up to a receiver that is full: the publication waits, and is answered when the receiver has room.
func BenchmarkUplinkWaits(b *testing.B) {
	w := newWorld(b, Config{}, store.Limits{Count: 1})
	from, to := newPosting(), newPosting()
	for name, c := range map[string]*posting{"from": from, "to": to} {
		if _, _, err := w.manager.attachNow(name, &c.link, c, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := to.link.Subscribe("a", 1); err != nil {
		b.Fatal(err)
	}
	p := &wire.Packet{Op: wire.Pub, ID: 1}
	p.Message.Topic, p.Message.Payload, p.Message.QoS = "a", make([]byte, 128), 1
	_ = from.link.Handle(p)
	to.link.Flush(true)
	ack := &wire.Packet{Op: wire.Ack}
	b.ReportAllocs()
	for b.Loop() {
		p.ID++
		_ = from.link.Handle(p)
		ack.ID, to.owed = to.owed[0], to.owed[:0]
		_ = to.link.Handle(ack)
		from.run()
	}
	if from.link.answers != nil {
		b.Error("answers wait")
	}
}

// The way up to a receiver that has room.
func BenchmarkUplinkDelivered(b *testing.B) {
	w := newWorld(b, Config{})
	from, to := newPosting(), newPosting()
	for name, c := range map[string]*posting{"from": from, "to": to} {
		if _, _, err := w.manager.attachNow(name, &c.link, c, Options{}); err != nil {
			b.Fatal(err)
		}
	}
	if err := to.link.Subscribe("a", 1); err != nil {
		b.Fatal(err)
	}
	p := &wire.Packet{Op: wire.Pub, ID: 1}
	p.Message.Topic, p.Message.Payload, p.Message.QoS = "a", make([]byte, 128), 1
	ack := &wire.Packet{Op: wire.Ack}
	b.ReportAllocs()
	for b.Loop() {
		_ = from.link.Handle(p)
		to.link.Flush(true)
		ack.ID, to.owed = to.owed[0], to.owed[:0]
		_ = to.link.Handle(ack)
	}
}

func newPosting() *posting {
	c := new(posting)
	c.loop = NewLoop(0, c.Do)
	return c
}

func (c *posting) Loop() *Loop { return c.loop }
