package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// services are services that answer when the test says so.
type services struct {
	begun []*begun
}

// begun is a call that a service has to answer.
type begun struct {
	*service.Call
	service   string
	timeout   time.Duration
	done      func(*service.Reply)
	cancelled bool
	over      bool
}

func (s *services) Begin(name string, c *service.Call, timeout time.Duration, done func(*service.Reply)) (cancel func()) {
	b := &begun{Call: c, service: name, timeout: timeout, done: done}
	s.begun = append(s.begun, b)
	if name == "unknown" {
		b.refuse(service.UnknownService)
	}
	return func() { b.cancelled = true }
}

func (b *begun) answer(payload string) {
	b.over = true
	b.done(&service.Reply{Payload: []byte(payload)})
}

func (b *begun) refuse(code string) {
	b.over = true
	b.done(&service.Reply{Err: service.Refusal{Code: code}})
}

// callWorld has services, and an account.
type callWorld struct {
	*world
	services *services
	account  *message.Account
}

func newCallWorld(t testing.TB, c Config) *callWorld {
	w := &callWorld{services: new(services), account: new(message.Account)}
	c.Services = w.services
	s := store.NewMemory(store.Options{Account: w.account})
	w.world = newWorldAround(t, c, router.New(router.Config{Account: w.account}, s), s)
	return w
}

// outcomes returns the counters of calls.
func (w *callWorld) outcomes() map[string]uint64 {
	all := map[string]uint64{}
	w.manager.Calls().Each(func(label string, n uint64) {
		if n > 0 {
			all[label] = n
		}
	})
	return all
}

// idle checks that nothing is left of calls.
func (w *callWorld) idle() {
	w.t.Helper()
	owed, _ := w.account.Bytes()
	if owed != 0 || w.manager.Calls().Open() != 0 {
		w.t.Errorf("%d calls and %d bytes are left", w.manager.Calls().Open(), owed)
	}
	for page := w.manager.page("", ""); len(page) > 0; page = w.manager.page("", page[len(page)-1].device) {
		for _, s := range page {
			if s.serviceCalls != 0 {
				w.t.Errorf("%s has %d calls", s.device, s.serviceCalls)
			}
		}
	}
}

func (c *conn) ask(id uint64, name, payload string) {
	c.world.t.Helper()
	c.handle(&wire.Packet{Op: wire.Call, ID: id, Service: name, Method: "m", Payload: []byte(payload), Timeout: time.Second})
}

func TestServiceCall(t *testing.T) {
	w := newCallWorld(t, Config{})
	c := w.connect("d", Options{})
	c.saw("hello resumed=false missed=0")
	payload := []byte("card")
	c.handle(&wire.Packet{
		Op: wire.Call, ID: 7, Service: "billing", Method: "authorize", Payload: payload, ContentType: "text/plain", Timeout: time.Second,
		Message: message.Message{Properties: []message.Property{{Key: "traceparent", Value: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}}},
	})
	copy(payload, "XXXX") // the packet was borrowed
	c.ask(8, "billing", "2")
	c.ask(9, "unknown", "3")
	first, second := w.services.begun[0], w.services.begun[1]
	expect(t, "call", fmt.Sprintf("%s %s %s %s %s %s %v", first.Device, first.service, first.Method, first.Payload, first.ContentType, first.Trace, first.timeout),
		"d billing authorize card text/plain 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01 1s")
	c.saw("reply 9 unknown_service")
	second.answer("two") // in any order
	first.refuse("no_funds")
	c.saw("reply 8 two", "reply 7 no_funds")
	c.ask(7, "billing", "again") // the id is free
	w.services.begun[3].answer(strings.Repeat("x", 101))
	c.saw("reply 7 too_large")
	expect(t, "outcomes", fmt.Sprint(w.outcomes()), "map[answered:1 failed:1 too_large:1 unknown_service:1]")
	w.idle()
	if err := c.link.Handle(&wire.Packet{Op: wire.Call, ID: 1, Method: "m"}); !errors.Is(err, wire.CloseContract) {
		t.Errorf("without a service: %v", err)
	}
}

func TestServiceCallsAreRefused(t *testing.T) {
	w := newCallWorld(t, Config{ServiceCalls: 2})
	c := w.connect("d", Options{Permissions: only("bill")})
	c.ask(1, "billing", "")
	c.ask(1, "billing", "") // the id is in use
	c.ask(2, "grid", "")
	c.ask(3, "billing", "")
	c.ask(4, "billing", "") // one too many
	c.saw("hello resumed=false missed=0", "reply 1 id_in_use", "reply 2 not_allowed", "reply 4 busy")
	w.services.begun[0].answer("1")
	c.saw("reply 1 1")
	w.manager.Shed(true)
	c.ask(5, "billing", "")
	w.manager.Shed(false)
	w.account.SetLimit(1)
	c.ask(6, "billing", "")
	w.account.SetLimit(0)
	c.ask(7, "billing", "")
	w.manager.Drain()
	c.ask(8, "billing", "")
	c.saw("reply 5 busy", "reply 6 quota", "reply 8 unavailable")
	expect(t, "calls", len(w.services.begun), 3)

	none := newWorld(t, Config{}).connect("d", Options{})
	none.ask(1, "billing", "")
	none.saw("hello resumed=false missed=0", "reply 1 unknown_service")
}

// What waits because the device does not read counts, and does not take the last memory.
func TestRepliesWaitForRoom(t *testing.T) {
	w := newCallWorld(t, Config{})
	c := w.connect("d", Options{})
	c.ask(1, "s", "")
	c.ask(2, "s", "")
	c.room = 0
	w.services.begun[0].answer("one")
	c.saw("hello resumed=false missed=0")
	c.ask(1, "s", "") // not answered yet
	c.saw("reply 1 id_in_use")
	before, _ := w.account.Bytes()
	w.account.SetLimit(before)
	w.services.begun[1].answer("two, which is too much")
	c.saw()
	if owed, _ := w.account.Bytes(); owed != before {
		t.Errorf("%d bytes, were %d", owed, before)
	}
	c.room = -1
	c.link.Flush(true)
	c.saw("reply 1 one", "reply 2 quota")
	w.idle()
}

// A reply that ends the connection ends those that wait behind it, once.
func TestReplyEndsTheConnection(t *testing.T) {
	w := newCallWorld(t, Config{})
	c := w.connect("d", Options{})
	c.ask(1, "s", "")
	c.ask(2, "s", "")
	c.room = 0
	w.services.begun[0].answer("one")
	c.saw("hello resumed=false missed=0")
	other := w.connect("other", Options{})
	other.ask(1, "s", "")
	w.account.SetLimit(1)
	c.room, c.reset = -1, true
	w.services.begun[1].answer("two")
	c.saw()
	w.services.begun[2].answer("three")
	other.saw("hello resumed=false missed=0", "reply 1 three")
	w.idle()
}

// A call whose connection has ended is cancelled. Until its service lets go of it, it counts for the device.
func TestServiceCallsEndWithTheConnection(t *testing.T) {
	for name, end := range map[string]func(*callWorld, *conn){
		"close":    func(_ *callWorld, c *conn) { c.world.manager.Detach(&c.link, "reset") },
		"takeover": func(w *callWorld, c *conn) { w.connect("d", Options{}); c.world.manager.Detach(&c.link, "taken_over") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newCallWorld(t, Config{ServiceCalls: 2})
			c := w.connect("d", Options{})
			c.ask(1, "s", "")
			c.ask(2, "s", "")
			w.services.begun[0].answer("too late")
			end(w, c)
			if w.services.begun[0].cancelled && !w.services.begun[1].cancelled {
				t.Error("the open call is not cancelled")
			}
			next := w.connect("d", Options{})
			next.ask(1, "s", "")
			next.saw("hello resumed=true missed=0", "reply 1 busy")
			w.services.begun[1].refuse(service.Canceled)
			for c.step() {
			}
			next.saw()
			next.ask(1, "s", "")
			w.services.begun[2].answer("new")
			next.saw("reply 1 new")
			expect(t, "outcomes", fmt.Sprint(w.outcomes()), "map[answered:1 busy:1 lost:2]")
			w.idle()
		})
	}
}

// callTrial is a device with connections that come and go, services that answer, refuse, time out and are cancelled, and a node that
// is short of memory or drains, in a random order.
type callTrial struct {
	*callWorld
	random *rand.Rand
	conns  []*asker // the last is the live one
	n      int
}

// asker is a connection, and what it asked.
type asker struct {
	*conn
	open  map[uint64]string // what was asked and not answered, by id
	ended bool
}

// Each call is answered once, on the connection that asked, or never if that has ended; and nothing is left of it.
func TestEveryServiceCallIsAnswered(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := &callTrial{callWorld: newCallWorld(t, Config{ServiceCalls: 4}), random: rand.New(rand.NewPCG(seed, 3))}
			g.connect()
			for range 150 {
				g.act()
				if t.Failed() {
					return
				}
			}
			g.finish()
		})
	}
}

func (g *callTrial) connect() {
	g.conns = append(g.conns, &asker{conn: g.callWorld.connect("d", Options{}), open: map[uint64]string{}})
}

func (g *callTrial) live() *asker { return g.conns[len(g.conns)-1] }

func (g *callTrial) act() {
	a := g.conns[g.random.IntN(len(g.conns))]
	switch g.random.IntN(14) {
	case 0, 1, 2, 3:
		if a == g.live() && !a.ended {
			g.ask(a)
		} else if !a.ended { // it was taken over: what it asks changes nothing
			begun := len(g.services.begun)
			a.ask(99, "s", "")
			expect(g.t, "calls", len(g.services.begun), begun)
		}
	case 4, 5, 6:
		if b := g.unanswered(); b != nil {
			b.answer(string(b.Payload))
		}
	case 7:
		if b := g.unanswered(); b != nil {
			b.refuse([]string{service.Timeout, service.Failed, "own"}[g.random.IntN(3)])
		}
	case 8, 9:
		a.step()
	case 10:
		a.room = -g.random.IntN(2)
		a.link.Flush(true)
	case 11:
		g.manager.Shed(g.random.IntN(2) == 0)
		g.manager.draining.Store(g.random.IntN(3) == 0)
	case 12:
		if g.random.IntN(3) == 0 {
			g.connect()
		}
	case 13:
		if !a.ended && g.random.IntN(3) == 0 {
			g.end(a)
		}
	}
	g.check()
}

// unanswered returns a call that its service has not answered.
func (g *callTrial) unanswered() *begun {
	open := slices.DeleteFunc(slices.Clone(g.services.begun), func(b *begun) bool { return b.over })
	if len(open) == 0 {
		return nil
	}
	return open[g.random.IntN(len(open))]
}

func (g *callTrial) ask(a *asker) {
	id := uint64(1 + g.random.IntN(6))
	_, inUse := a.open[id]
	g.n++
	payload := fmt.Sprint("call ", g.n)
	begun := len(g.services.begun)
	a.log = nil
	a.conn.ask(id, "s", payload)
	switch {
	case len(g.services.begun) > begun:
		if inUse {
			g.t.Errorf("a second call with id %d is begun", id)
		}
		a.open[id] = payload
	case len(a.log) != 1:
		g.t.Errorf("a refused call got %q", a.log)
	case inUse && a.log[0] != fmt.Sprintf("reply %d id_in_use", id):
		g.t.Errorf("a second call with id %d got %q", id, a.log)
	}
	a.log = nil
}

func (g *callTrial) end(a *asker) {
	g.check()
	a.ended = true
	g.manager.Detach(&a.link, "reset")
	for _, b := range g.services.begun {
		if slices.Contains(values(a.open), string(b.Payload)) && !b.over && !b.cancelled {
			g.t.Errorf("%s is not cancelled", b.Payload)
		}
	}
	clear(a.open)
}

// check looks at what came.
func (g *callTrial) check() {
	for _, a := range g.conns {
		for _, line := range a.log {
			var id uint64
			if _, err := fmt.Sscanf(line, "reply %d", &id); err != nil {
				continue
			}
			_, answer, _ := strings.Cut(line, fmt.Sprintf("reply %d ", id))
			asked, ok := a.open[id]
			if !ok || strings.HasPrefix(answer, "call ") && answer != asked {
				g.t.Errorf("%q on a connection that asked %v", line, a.open)
			}
			delete(a.open, id)
		}
		a.log = nil
	}
	if n := g.conns[0].link.session.serviceCalls; n < 0 || n > 4 {
		g.t.Errorf("%d calls of the device", n)
	}
}

// finish lets everything end, and checks that nothing is left.
func (g *callTrial) finish() {
	for b := g.unanswered(); b != nil; b = g.unanswered() {
		b.answer(string(b.Payload))
	}
	for _, a := range g.conns {
		a.room = -1
		for a.step() {
		}
		a.link.Flush(true)
	}
	g.check()
	for _, a := range g.conns {
		if len(a.open) > 0 {
			g.t.Errorf("%v was never answered", a.open)
		}
	}
	g.idle()
	total := uint64(0)
	for _, n := range g.outcomes() {
		total += n
	}
	expect(g.t, "outcomes", total, uint64(g.n))
}

func values(m map[uint64]string) (all []string) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

// Services answer from goroutines of their own, while connections come and go.
func TestStressServiceCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rounds, perRound = 30, 40
		account := new(message.Account)
		s := store.NewMemory(store.Options{Account: account})
		w := newWorldAround(t, Config{Services: busyServices{}, ServiceCalls: perRound}, router.New(router.Config{Account: account}, s), s)
		defer w.close()
		for range rounds {
			c := w.connect("d", Options{})
			for i := range uint64(perRound) {
				c.ask(i+1, "s", "x")
				c.step()
			}
			w.manager.Detach(&c.link, "reset")
			synctest.Wait()
			for c.step() {
			}
		}
		expect(t, "open", w.manager.Calls().Open(), 0)
		owed, _ := account.Bytes()
		expect(t, "bytes", owed, 0)
	})
}

// busyServices answer at once, soon, or when they are cancelled.
type busyServices struct{}

func (busyServices) Begin(_ string, c *service.Call, _ time.Duration, done func(*service.Reply)) (cancel func()) {
	cancelled := make(chan struct{})
	switch rand.IntN(3) {
	case 0:
		done(&service.Reply{Payload: c.Payload})
	case 1:
		go done(&service.Reply{Payload: c.Payload})
	default:
		go func() {
			<-cancelled
			done(&service.Reply{Err: service.Refusal{Code: service.Canceled}})
		}()
	}
	return func() { close(cancelled) }
}
