package session

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/wire"
)

// commanded is a device of TestStressCommands. Guarded by mu.
type commanded struct {
	id     string
	obeys  bool // answers everything, at once
	mu     sync.Mutex
	newest *commandedConn
	got    map[uint64]int // how often each command came
	owed   []uint64       // came and were not answered
	did    map[uint64]bool
	wrongs []string
}

// commandedConn is one connection of it.
type commandedConn struct {
	*looped
	device *commanded
}

// Call takes most calls.
func (c *commandedConn) Call(p *wire.Packet) (refused string) {
	d := c.device
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.obeys && rand.IntN(10) == 0 {
		return "not now"
	}
	if c != d.newest { // the device reads the older connection no more
		return ""
	}
	if again := d.got[p.ID] > 0; again && !p.Again {
		d.wrongs = append(d.wrongs, fmt.Sprintf("%s: %d came %d times, and does not say again", d.id, p.ID, d.got[p.ID]+1))
	}
	d.got[p.ID]++
	d.owed = append(d.owed, p.ID)
	if d.obeys || rand.IntN(3) > 0 {
		c.Do(c.answer)
	}
	return ""
}

// answer answers one of the commands that came, on whatever connection. On the loop.
func (c *commandedConn) answer() {
	d := c.device
	d.mu.Lock()
	var id uint64
	if len(d.owed) > 0 {
		i := rand.IntN(len(d.owed))
		id = d.owed[i]
		d.owed = append(d.owed[:i], d.owed[i+1:]...)
		d.did[id] = true
	}
	more := d.obeys && len(d.owed) > 0
	d.mu.Unlock()
	if id != 0 {
		_ = c.link.Handle(&wire.Packet{Op: wire.Reply, ID: id})
	}
	if more {
		c.Do(c.answer)
	}
}

// connect makes a connection, while the loop of the one before may still run.
func (d *commanded) connect(w *world, loops *sync.WaitGroup) *commandedConn {
	c := &commandedConn{newLooped(loops, nil), d}
	d.mu.Lock()
	d.newest = c
	d.mu.Unlock()
	if _, _, err := w.manager.attachNow(d.id, &c.link, c, Options{}); err != nil {
		w.t.Error(err)
	}
	c.Do(func() { c.link.Flush(true) })
	return c
}

// Backends create and cancel commands while devices come and go, on loops that still run when the next connection is there, refuse
// some calls, and answer some on a later connection. In the end each command has ended as what the device saw.
func TestStressCommands(t *testing.T) {
	for name, s := range map[string]storetest.Whole{
		"memory":  store.NewMemory(store.Options{}),
		"durable": storetest.NewOnJournal(store.Options{}),
	} {
		t.Run(name, func(t *testing.T) { stressCommands(t, s) })
	}
}

func stressCommands(t *testing.T, s storetest.Whole) {
	const devices, creators, each = 4, 4, 100
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	commands := command.Open(command.Config{PerDevice: creators * each, InFlight: 3}, s, nil, slog.Default())
	w := newWorldOn(t, Config{Commands: commands}, s)
	commands.Start(w.manager)
	t.Cleanup(commands.Close)

	var loops, working, created sync.WaitGroup
	all := make([]*commanded, devices)
	stop := make(chan struct{})
	for i := range all {
		d := &commanded{id: fmt.Sprint("d", i), got: make(map[uint64]int), did: make(map[uint64]bool)}
		all[i] = d
		working.Go(func() {
			for {
				c := d.connect(w, &loops)
				for range rand.IntN(20) {
					c.Do(c.answer)
					done := make(chan struct{})
					c.Do(func() { close(done) })
					<-done
				}
				c.Do(func() { _ = c.link.Handle(&wire.Packet{Op: wire.Sub, ID: 1, Filters: []string{"a"}}) }) // what was refused may be taken
				leave := func() { w.manager.Detach(&c.link, "gone"); c.closed.Store(true) }
				last := make(chan struct{})
				c.posts <- func() { leave(); close(last) }
				c.posts <- nil
				select {
				case <-stop:
					<-last
					return
				default:
				}
			}
		})
	}
	var mu sync.Mutex
	var ids []uint64
	for range creators {
		created.Go(func() {
			for range each {
				r := &command.Request{Device: all[rand.IntN(devices)].id, Method: "m", Exclusive: rand.IntN(10) == 0}
				c, _, err := commands.Create(ctx, r, time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ids = append(ids, c.ID)
				victim := ids[len(ids)-1-rand.IntN(min(len(ids), 10))]
				mu.Unlock()
				if rand.IntN(5) == 0 {
					if _, err := commands.Cancel(ctx, victim); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	created.Wait()
	close(stop)
	working.Wait()
	var last []*commandedConn
	for _, d := range all {
		d.mu.Lock()
		d.obeys = true
		d.mu.Unlock()
		last = append(last, d.connect(w, &loops))
	}
	ends := awaitEnds(ctx, t, commands, len(ids))
	for _, c := range last {
		c.Do(func() { w.manager.Detach(&c.link, "gone"); c.closed.Store(true) })
		c.posts <- nil
	}
	loops.Wait()
	checkEnds(t, all, ends)
}

// awaitEnds returns all commands when they have ended.
func awaitEnds(ctx context.Context, t *testing.T, commands *command.Manager, n int) map[uint64]*command.Command {
	t.Helper()
	ends, place := make(map[uint64]*command.Command), uint64(0)
	for len(ends) < n {
		list, next, _ := commands.Changed("", command.AnyState, place, 100)
		for _, c := range list {
			if c.State.Ended() {
				ends[c.ID] = c
			}
		}
		if place = next; len(list) > 0 {
			continue
		}
		if err := commands.Wait(ctx, place); err != nil {
			t.Fatalf("%d of %d have ended: %v; %+v", len(ends), n, err, commands.Stats())
		}
	}
	return ends
}

// checkEnds compares the ends of commands with what the devices saw.
func checkEnds(t *testing.T, all []*commanded, ends map[uint64]*command.Command) {
	t.Helper()
	counts := make(map[command.State]int)
	for _, d := range all {
		for _, wrong := range d.wrongs {
			t.Error(wrong)
		}
		for id, c := range ends {
			if c.Device != d.id {
				continue
			}
			counts[c.State]++
			switch got, did := d.got[id], d.did[id]; {
			case c.State == command.Succeeded && !did, c.State == command.Cancelled && got > 0, c.State == command.Expired:
				t.Errorf("%s: %d is %v; it came %d times, answered: %t", d.id, id, c.State, got, did)
			case c.Attempts > 0 && c.State == command.Cancelled:
				t.Errorf("%s: %d is cancelled after %d attempts", d.id, id, c.Attempts)
			}
		}
	}
	t.Log(counts)
}
