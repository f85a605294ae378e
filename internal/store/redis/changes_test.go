package redis

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// sameClock is that of a node whose clock is right.
type sameClock struct{}

func (sameClock) ToRedis(ms int64) int64   { return ms }
func (sameClock) FromRedis(ms int64) int64 { return ms }

// hashes are what Redis has of a device.
type hashes struct{ state, queue map[string]string }

// apply does what write.lua does.
func (h hashes) apply(all []write) {
	for i := range all {
		w := &all[i]
		if w.what.drop {
			clear(h.queue)
			maps.DeleteFunc(h.state, func(name, _ string) bool { return !strings.HasPrefix(name, "v/") })
		}
		if w.what.release {
			maps.DeleteFunc(h.state, func(name, _ string) bool { return strings.HasPrefix(name, "i/") })
		}
		for _, name := range w.remove {
			delete(h.state, name)
		}
		for _, number := range w.removeQueued {
			delete(h.queue, number)
		}
		set(h.queue, w.setQueued)
		set(h.state, w.set)
	}
}

func set(to map[string]string, pairs []string) {
	for i := 0; i < len(pairs); i += 2 {
		to[pairs[i]] = pairs[i+1]
	}
}

// randomOp returns an operation of a device such as a queue and a session make them: a number is pushed before anything else happens to it.
func randomOp(r *rand.Rand, there map[uint64]bool) store.Op {
	number := 1 + r.Uint64N(12)
	m := message.Message{Topic: "t", Payload: fmt.Append(nil, r.Int())}
	filter := string('a' + byte(r.IntN(12)))
	switch op := (store.Op{Device: "d", Number: number, Packet: uint16(1 + r.IntN(12)), QoS: 1, Due: 1, Size: 10}); {
	case r.IntN(40) == 0:
		clear(there)
		op.Kind = store.OpDrop
		return op
	case r.IntN(3) > 0 && !there[number]:
		there[number] = true
		op.Kind, op.Message = store.OpPush, m.Clone()
		return op
	case r.IntN(3) > 0 && there[number]:
		op.Kind = []store.Kind{store.OpSent, store.OpReceived, store.OpRemove, store.OpOrphan}[r.IntN(4)]
		op.Key, op.Value = "k"+filter, []byte("v")
		if op.Kind == store.OpRemove || op.Kind == store.OpOrphan {
			delete(there, number)
		}
		return op
	default:
		op.Kind = []store.Kind{store.OpSave, store.OpUpdate, store.OpSubscribe, store.OpUnsubscribe, store.OpReceive, store.OpRelease, store.OpPut, store.OpDelete}[r.IntN(8)]
		op.Record = &store.Record{Device: "d", Session: r.Uint64()}
		op.Subscription, op.Topic = &topic.Subscription{Filter: filter, QoS: message.QoS(r.IntN(3))}, filter
		op.Space, op.Key, op.Value = store.SpaceCommand, filter, []byte(filter)
		if op.Kind == store.OpRelease && r.IntN(3) == 0 {
			op.Packet = 0
		}
		return op
	}
}

// However operations are put together in batches, Redis has the same in the end; also when a batch is written twice.
func TestBatches(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		one, many := hashes{map[string]string{}, map[string]string{}}, hashes{map[string]string{}, map[string]string{}}
		batch := &changes{device: "d"}
		there := make(map[uint64]bool)
		for range 60 {
			op := randomOp(r, there)
			alone := &changes{device: "d"}
			alone.add(&op)
			one.apply(alone.writes(nil, sameClock{}))
			batch.add(&op)
			if r.IntN(8) == 0 {
				all := batch.writes(nil, sameClock{})
				many.apply(all)
				if r.IntN(2) == 0 {
					many.apply(all)
				}
				batch = &changes{device: "d"}
			}
		}
		many.apply(batch.writes(nil, sameClock{}))
		if !maps.Equal(one.state, many.state) || !maps.Equal(one.queue, many.queue) {
			t.Fatalf("seed %d: one by one\n%q\n%q\nin batches\n%q\n%q", seed, one.state, one.queue, many.state, many.queue)
		}
	}
}

// What comes and goes in a batch is not written, and a long list is written in several calls, of which each is bounded.
func TestBounds(t *testing.T) {
	c := &changes{device: "d"}
	m := message.Message{Topic: "t", Payload: make([]byte, 10<<10)}
	for n := range uint64(2000) {
		c.add(&store.Op{Kind: store.OpPush, Device: "d", Number: n + 1, QoS: 1, Message: m.Clone()})
		if n%2 == 0 {
			c.add(&store.Op{Kind: store.OpRemove, Device: "d", Number: n + 1})
		}
	}
	messages := 0
	all := c.writes(nil, sameClock{})
	for i := range all {
		w := &all[i]
		messages += len(w.setQueued) / 2
		if w.names() > mostNames+8 || w.bytes > mostBytes+20<<10 || len(w.remove)+len(w.removeQueued) > 0 {
			t.Errorf("a call has %d names and %d bytes, and removes %d", w.names(), w.bytes, len(w.remove))
		}
	}
	if messages != 1000 || len(all) < 2 {
		t.Errorf("%d messages in %d calls", messages, len(all))
	}
}
