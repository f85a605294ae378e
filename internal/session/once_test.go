package session

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// pipe is a connection of a flaky client. What goes either way arrives in order, one packet at
// a time, and is lost when another pipe takes its place.
type pipe struct {
	client *flaky
	link   Link
	loop   *Loop
	posts  []func() // the gateway's loop
	down   []func() // packets on the way to the client
	up     []func() // packets on the way to the gateway
}

func (p *pipe) Wake()             { p.posts = append(p.posts, func() { p.link.Flush(true) }) }
func (p *pipe) Do(g func()) bool  { p.posts = append(p.posts, g); return true }
func (p *pipe) Close(*wire.Close) {}
func (p *pipe) Room() bool        { return len(p.down) < 3 }
func (p *pipe) Loop() *Loop       { return p.loop }
func (p *pipe) SetReading(bool)   {}
func (p *pipe) Acks() bool        { return true }

func (p *pipe) Send(m *message.Message, _ message.QoS) bool {
	p.client.t.Errorf("%s with QoS 0", m.Payload)
	return true
}

func (p *pipe) Call(*wire.Packet) string { return "" }

func (p *pipe) Reply(*wire.Packet) (e wire.Error) { return e }

func (p *pipe) SendPacket(m *message.Message, q message.QoS, id uint16, _ bool) bool {
	p.down = append(p.down, func() { p.client.onPublish(id, q, string(m.Payload)) })
	return true
}

func (p *pipe) Release(id uint16) { p.down = append(p.down, func() { p.client.onRelease(id) }) }

func (p *pipe) Answer(a *wire.Packet) {
	id, q, refused := uint16(a.ID), a.QoS, a.Err.Code
	p.down = append(p.down, func() { p.client.onAnswer(id, q, refused) })
}

// step does the next thing of one kind and tells whether there was one.
func (p *pipe) step(kind int) bool {
	line := []*[]func(){&p.posts, &p.down, &p.up}[kind]
	if len(*line) == 0 {
		return false
	}
	next := (*line)[0]
	*line = (*line)[1:]
	next()
	if kind == 1 {
		p.link.Flush(true) // the socket has room again
	}
	return true
}

// flaky is an MQTT client's session.
type flaky struct {
	*world
	pipe    *pipe
	known   map[uint16]bool // QoS 2 messages received and not released
	got     []string        // what its application was given
	unacked []*sending
	last    uint16
}

// sending is a publication of the client.
type sending struct {
	id       uint16
	payload  string
	q        message.QoS
	again    bool // it was sent on an older connection
	received bool // PUBREC came
}

func (f *flaky) reply(g func(*Link)) {
	p := f.pipe
	p.up = append(p.up, func() { g(&p.link) })
}

func (f *flaky) onPublish(id uint16, q message.QoS, payload string) {
	switch {
	case q == message.AtLeastOnce:
		if !slices.Contains(f.got, payload) { // it may come twice
			f.got = append(f.got, payload)
		}
		f.reply(func(l *Link) { _ = l.Acked(id) })
		return
	case !f.known[id]:
		f.got = append(f.got, payload)
		f.known[id] = true
	}
	f.reply(func(l *Link) {
		if found, _ := l.Received(id, false); found {
			l.conn.(*pipe).Release(id)
		}
	})
}

func (f *flaky) onRelease(id uint16) {
	delete(f.known, id)
	f.reply(func(l *Link) { _ = l.Completed(id) })
}

// onAnswer is for PUBACK and PUBREC.
func (f *flaky) onAnswer(id uint16, q message.QoS, refused string) {
	i := slices.IndexFunc(f.unacked, func(o *sending) bool { return o.id == id && o.q == q })
	switch {
	case refused != "":
		f.t.Errorf("refused: %v", refused)
	case i < 0:
	case q == message.ExactlyOnce:
		f.unacked[i].received = true
		f.reply(f.release(f.unacked[i]))
	default:
		f.unacked = slices.Delete(f.unacked, i, i+1)
	}
}

// publish sends a publication, for the first time or again.
func (f *flaky) publish(o *sending) func(*Link) {
	return func(l *Link) {
		p := &wire.Packet{Op: wire.Pub, ID: uint64(o.id), Again: o.again}
		p.Message = message.Message{Topic: "up", Payload: []byte(o.payload), QoS: o.q}
		if err := l.Handle(p); err != nil {
			f.t.Error(err)
		}
	}
}

// release sends PUBREL; its PUBCOMP ends the publication.
func (f *flaky) release(o *sending) func(*Link) {
	return func(l *Link) {
		l.Released(o.id)
		p := l.conn.(*pipe)
		p.down = append(p.down, func() {
			f.unacked = slices.DeleteFunc(f.unacked, func(x *sending) bool { return x == o })
		})
	}
}

// publishNew publishes a message unless the gateway's Receive Maximum is used up.
func (f *flaky) publishNew(payload string, q message.QoS) bool {
	if len(f.unacked) == 4 {
		return false
	}
	used := func(o *sending) bool { return o.id == f.last }
	for f.last = f.last%6 + 1; slices.ContainsFunc(f.unacked, used); {
		f.last = f.last%6 + 1 // identifiers come round
	}
	o := &sending{id: f.last, payload: payload, q: q}
	f.unacked = append(f.unacked, o)
	f.reply(f.publish(o))
	return true
}

// leave breaks the connection, and the gateway knows.
func (f *flaky) leave() {
	f.manager.Detach(&f.pipe.link, "reset")
	f.pipe.posts, f.pipe.down, f.pipe.up = nil, nil, nil
}

// connect makes another connection, in the place of one that the gateway takes to be live.
func (f *flaky) connect() {
	f.pipe = &pipe{client: f}
	f.pipe.loop = NewLoop(0, f.pipe.Do)
	if _, _, err := f.manager.attachNow("d", &f.pipe.link, f.pipe, Options{ReceiveMaximum: 3}); err != nil {
		f.t.Fatal(err)
	}
	f.pipe.link.Flush(true)
	for _, o := range f.unacked {
		if o.again = true; o.received {
			f.reply(f.release(o))
		} else {
			f.reply(f.publish(o))
		}
	}
}

// FuzzExactlyOnce plays a script of publications in both directions, packets that arrive and
// connections that break, with a receiver that is full at times: in the end each message of
// QoS 2 came once, each of QoS 1 came, and all in the order of their publication.
func FuzzExactlyOnce(f *testing.F) {
	f.Add([]byte{2, 2, 2, 6, 5, 2, 0, 5, 6, 1, 4, 0, 5, 6, 7, 5, 6, 4, 8, 5})
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		script := make([]byte, 600)
		for i := range script {
			script[i] = byte(r.UintN(256))
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) { playOnce(t, script[:min(len(script), 5000)]) })
}

func playOnce(t *testing.T, script []byte) {
	w := newWorld(t, Config{Unanswered: 4, InFlight: 4}, store.Limits{Count: 6})
	receiver := &conn{world: w, room: -1}
	receiver.attach("receiver", Options{})
	receiver.sub(1, 1, "up")
	c := &flaky{world: w, known: map[uint16]bool{}}
	c.connect()
	if err := c.pipe.link.Subscribe("down", 2); err != nil {
		t.Fatal(err)
	}
	var down, once, atLeastOnce []string
	for n, b := range script {
		number, q := strconv.Itoa(n), message.QoS(1+b>>7)
		switch b % 16 {
		case 0, 1:
			if w.info("d").Queued < 6 { // beyond its bound, a device that is away loses some
				w.publish("down", number, q)
				down = append(down, number)
			}
		case 2, 3:
			switch published := c.pipe.link.session.link == &c.pipe.link && c.publishNew(number, q); {
			case published && q == message.ExactlyOnce:
				once = append(once, number)
			case published:
				atLeastOnce = append(atLeastOnce, number)
			}
		case 4:
			c.leave()
		case 6:
			c.connect()
		case 5:
			if receiver.step(); len(receiver.owed) > 0 {
				receiver.ack(0)
			}
		default:
			c.pipe.step(int(b % 3))
		}
	}
	c.connect()
	c.settle(receiver)

	if !slices.Equal(c.got, down) {
		t.Errorf("the client got\n\t%v, want\n\t%v", c.got, down)
	}
	seen := receiver.payloads()
	if got := slices.DeleteFunc(slices.Clone(seen), func(n string) bool { return !slices.Contains(once, n) }); !slices.Equal(got, once) {
		t.Errorf("the receiver got\n\t%v with QoS 2, want\n\t%v", got, once)
	}
	for _, n := range atLeastOnce {
		if !slices.Contains(seen, n) {
			t.Errorf("the receiver did not get %s", n)
		}
	}
	expect(t, "drops", len(w.drops()), 0)
	if s := c.pipe.link.session; s.mqtt.received.Len()+len(s.mqtt.routed) > 0 || s.queue != nil && !s.queue.Empty() {
		t.Errorf("left: %+v, %+v", s.mqtt, s.queue)
	}
}

// settle runs all that moves until nothing does.
func (f *flaky) settle(receiver *conn) {
	for moved := true; moved; {
		moved = receiver.step()
		for len(receiver.owed) > 0 {
			receiver.ack(0)
			moved = true
		}
		for kind := range 3 {
			moved = f.pipe.step(kind) || moved
		}
	}
	if len(f.unacked) > 0 {
		f.t.Errorf("%d publications are not over", len(f.unacked))
	}
}

// payloads are those of the messages that the device saw.
func (c *conn) payloads() (p []string) {
	for _, line := range c.log {
		if _, rest, ok := strings.Cut(line, "up="); ok {
			payload, _, _ := strings.Cut(rest, " ")
			p = append(p, payload)
		}
	}
	return p
}
