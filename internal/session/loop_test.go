package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// turns is a loop whose turns a test runs.
type turns struct {
	*Loop
	posts []func()
	ended bool
}

func newTurns() *turns {
	l := new(turns)
	l.Loop = NewLoop(0, func(f func()) bool {
		if !l.ended {
			l.posts = append(l.posts, f)
		}
		return !l.ended
	})
	return l
}

// turn runs what was posted before it.
func (l *turns) turn() {
	posts := l.posts
	l.posts = nil
	for _, f := range posts {
		f()
	}
}

// on is a connection of such a loop.
type on struct {
	*conn
	turns *turns
}

func (c *on) Loop() *Loop { return c.turns.Loop }

// connectOn connects devices that share a loop.
func (w *world) connectOn(l *turns, devices int) []*on {
	var all []*on
	for i := range devices {
		c := &on{&conn{world: w, room: -1}, l}
		c.attachAs(fmt.Sprint("publisher ", i), c, Options{})
		c.log = nil
		all = append(all, c)
	}
	return all
}

// Answers that come together cost a loop one post, however many connections they are for, and many of them take more
// than one turn.
func TestAnswersAreGatheredByLoop(t *testing.T) {
	const devices, each = 30, 10
	w, s := full(t, Config{})
	l := newTurns()
	publishers := w.connectOn(l, devices)
	for i := range each {
		for _, p := range publishers {
			p.pub(uint64(i), "a", "x", 1)
		}
	}
	answered := func() (n int) {
		for _, p := range publishers {
			n += len(p.log)
		}
		return n
	}
	s.leave("reset") // its oldest messages give way to those that wait
	w.manager.admitting.Wait()
	for n := 0; n < devices*each; n += answersPerTurn {
		expect(t, "answered", answered(), n)
		expect(t, "posts", len(l.posts), 1)
		l.turn()
	}
	expect(t, "posts", len(l.posts), 0)
	var want []string
	for i := range each {
		want = append(want, fmt.Sprint("ack ", i))
	}
	for _, p := range publishers {
		if !slices.Equal(p.log, want) {
			t.Fatalf("the device saw %q", p.log)
		}
	}
}

// What is settled for a loop that has ended is forgotten.
func TestAnswersStopWithTheLoop(t *testing.T) {
	w, s := full(t, Config{})
	l := newTurns()
	p := w.connectOn(l, 1)[0]
	p.pub(1, "a", "x", 1)
	p.pub(2, "a", "y", 1)
	l.ended = true
	s.ack(0)
	s.saw("a=x qos 1")
	s.ack(0)
	expect(t, "kept", len(l.settled), 0)
}

// A publisher whose answers come a few at a time is switched off and on again when half of them have come, not at
// each time.
func TestReadingResumesAtHalf(t *testing.T) {
	const messages, batch, unanswered = 3200, 8, 32
	w := newWorld(t, Config{InFlight: batch, Unanswered: unanswered}, store.Limits{Count: batch})
	s := w.connect("subscriber", Options{})
	s.sub(1, 1, "a")
	p := w.connectOn(newTurns(), 1)[0]
	sent, acked := 0, 0
	for acked < messages {
		for sent < messages && sent-acked < 2*unanswered && p.reads() {
			sent++
			p.pub(uint64(sent), "a", "x", 1)
		}
		for s.step() {
		}
		for range min(batch, len(s.owed)) {
			s.ack(0)
		}
		p.turns.turn()
		acked = len(slices.DeleteFunc(slices.Clone(p.log), func(line string) bool { return !strings.HasPrefix(line, "ack") }))
	}
	switches := len(p.log) - acked
	if most := 2 * (messages/(unanswered/2) + 1); switches > most || switches == 0 {
		t.Errorf("reading was switched %d times, want at most %d", switches, most)
	}
	expect(t, "is read in the end", p.reads(), true)
}

// reads reports whether the session has the connection read.
func (c *conn) reads() bool {
	for i := len(c.log) - 1; i >= 0; i-- {
		if on, is := strings.CutPrefix(c.log[i], "reading "); is {
			return on == "true"
		}
	}
	return true
}

// Those that wait for a device that is sent everything at once come in a part at a time, each in another turn.
func TestManyThatWaitComeInInParts(t *testing.T) {
	const waiting = 10 * admitAtOnce
	w := newWorld(t, Config{}, store.Limits{Count: 1})
	c := &conn{world: w, raw: true}
	c.attach("d", Options{})
	if err := c.link.Subscribe("a", 1); err != nil {
		t.Fatal(err)
	}
	for i := range waiting + 1 {
		w.publish("a", fmt.Sprint(i), 1)
	}
	c.room = -1
	parts := 0
	for before := waiting; before > 0; parts++ {
		if !c.step() {
			t.Fatalf("%d wait, and no turn is to come", before)
		}
		left := w.info("d").Waiting
		if before-left > admitAtOnce {
			t.Fatalf("%d came in in one turn", before-left)
		}
		before = left
	}
	for c.step() {
	}
	expect(t, "sent", len(c.log), 1+waiting+1)
	expect(t, "the last", c.log[len(c.log)-1], fmt.Sprintf("a=%d qos 1", waiting))
}

// Whoever detaches a device for which many messages wait does not wait for all of them; nor does whoever ends its
// session.
func TestManyThatWaitAreLeftToAGoroutine(t *testing.T) {
	const waiting = 10 * admitAtOnce
	for name, o := range map[string]struct {
		end   func(*world, *conn)
		drops string
	}{
		"away":  {func(_ *world, s *conn) { s.leave("reset") }, "map[queue_overflow:1280]"},
		"ended": {func(w *world, _ *conn) { w.connect("subscriber", Options{Clean: true}) }, "map[session_ended:1281]"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := full(t, Config{})
			told := make(chan string, 2*waiting)
			for range waiting {
				m := &message.Message{Topic: "a", QoS: 1}
				if got, err := w.router.Publish(m, func(error) { told <- goroutine() }); !got.Later || err != nil {
					t.Fatal(got, err)
				}
			}
			o.end(w, s)
			w.manager.admitting.Wait()
			w.manager.redeliveries.wait()
			close(told)
			here, all := 0, 0
			for g := range told {
				if all++; g == goroutine() {
					here++
				}
			}
			expect(t, "told", all, waiting)
			if here > 2*admitAtOnce {
				t.Errorf("one told %d of them", here)
			}
			expect(t, "drops", fmt.Sprint(w.drops()), o.drops)
		})
	}
}

// An answer that ends its connection ends the line of answers.
func TestAnswerThatEndsTheConnection(t *testing.T) {
	w, s := full(t, Config{})
	p := &leaver{&conn{world: w, room: -1}}
	p.attachAs("d", p, Options{})
	p.pub(1, "a", "x", 1)
	p.pub(2, "free", "y", 1)
	s.ack(0)
	s.saw("a=x qos 1")
	p.saw(fresh, "ack 1")
}

// leaver is a connection that fails when it is written to.
type leaver struct{ *conn }

func (c *leaver) Answer(p *wire.Packet) {
	c.conn.Answer(p)
	c.leave("reset")
}
