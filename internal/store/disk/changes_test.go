package disk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/longline/longline/internal/journal"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

func newState(t *testing.T) *state {
	t.Helper()
	s, err := openState("/state", vfs.NewMem(), &store.RetainedLimits{}, &pebble.EventListener{}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	return s
}

// keysOf returns all that is in a state but its place.
func keysOf(t *testing.T, s *state) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, prefix := range append([]string{"q/", "n/"}, loadOrder...) {
		err := s.each(prefix, func(key, value []byte) error {
			all[string(key)] = string(value)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func pushOf(device string, number uint64, orphan string) store.Op {
	m := &message.Message{ID: number, Topic: "t", Payload: fmt.Append(nil, number), QoS: message.ExactlyOnce}
	return store.Op{Kind: store.OpPush, Device: device, Number: number, QoS: m.QoS, Due: 1 << 41, Size: m.Size(), Message: m, Key: orphan}
}

// A message that was pushed, sent and removed among the changes does not reach the state; what was there before them does.
func TestChangesLeaveOut(t *testing.T) {
	of := func(kind store.Kind, number uint64) store.Op {
		return store.Op{Kind: kind, Device: "d", Number: number, Packet: 7, QoS: message.ExactlyOnce, Size: 2, Key: "o", Value: []byte("v")}
	}
	for name, test := range map[string]struct {
		ops  []store.Op
		want uint32 // writes to the state
	}{
		"acknowledged":            {[]store.Op{pushOf("d", 1, ""), of(store.OpSent, 1), of(store.OpRemove, 1)}, 0},
		"released":                {[]store.Op{pushOf("d", 1, ""), of(store.OpSent, 1), of(store.OpReceived, 1), of(store.OpRemove, 1)}, 0},
		"another number":          {[]store.Op{pushOf("d", 1, ""), of(store.OpRemove, 2)}, 4},
		"another device":          {[]store.Op{pushOf("e", 1, ""), of(store.OpRemove, 1)}, 4},
		"pushed before":           {[]store.Op{of(store.OpSent, 1), of(store.OpRemove, 1)}, 3},
		"ended an orphan":         {[]store.Op{pushOf("d", 1, "o"), of(store.OpRemove, 1)}, 5},
		"became an orphan":        {[]store.Op{pushOf("d", 1, ""), of(store.OpOrphan, 1), of(store.OpRemove, 1)}, 7},
		"a session later":         {[]store.Op{pushOf("d", 1, ""), {Kind: store.OpDrop, Device: "d"}, of(store.OpRemove, 1)}, 9},
		"again a session later":   {[]store.Op{pushOf("d", 1, ""), {Kind: store.OpDrop, Device: "d"}, pushOf("d", 1, ""), of(store.OpRemove, 1)}, 7},
		"sent in another session": {[]store.Op{pushOf("d", 1, ""), {Kind: store.OpDrop, Device: "d"}, of(store.OpSent, 1), of(store.OpRemove, 1)}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState(t)
			b := s.batch()
			defer b.close()
			var all changes
			for range 2 { // it begins anew
				before := b.b.Count()
				for i := range test.ops {
					if err := all.add(store.AppendOp(nil, &test.ops[i])); err != nil {
						t.Fatal(err)
					}
				}
				all.write(b)
				if got := b.b.Count() - before; got != test.want {
					t.Errorf("%d writes, want %d", got, test.want)
				}
			}
		})
	}
}

// In whatever pieces operations are applied, they make the same state.
func TestChangesMakeTheSame(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		whole, single := newState(t), newState(t)
		next, left := map[string]uint64{}, map[string][]uint64{}
		b, place := whole.batch(), journal.Place(1)
		var all changes
		apply := func() {
			all.write(b)
			b.next = place
			if err := whole.apply(b); err != nil {
				t.Fatal(err)
			}
			b.close()
			b = whole.batch()
		}
		for range 400 {
			device := fmt.Sprint("d", rng.IntN(2))
			op := store.Op{Device: device, Packet: 1 + uint16(rng.IntN(9)), QoS: message.ExactlyOnce, Due: 5, Size: 3}
			switch kind := rng.IntN(20); {
			case kind < 9 || len(left[device]) == 0 && kind < 19:
				next[device]++
				orphan := ""
				if rng.IntN(8) == 0 {
					orphan = fmt.Sprint("o", rng.IntN(3))
				}
				op = pushOf(device, next[device], orphan)
				left[device] = append(left[device], next[device])
			case kind < 19:
				i := rng.IntN(len(left[device]))
				op.Number = left[device][i]
				op.Kind = []store.Kind{store.OpSent, store.OpSent, store.OpReceived, store.OpRemove, store.OpRemove, store.OpRemove, store.OpOrphan}[rng.IntN(7)]
				switch op.Kind {
				case store.OpOrphan:
					op.Key, op.Value = fmt.Sprint("o", rng.IntN(3)), []byte("v")
					fallthrough
				case store.OpRemove:
					left[device] = append(left[device][:i:i], left[device][i+1:]...)
				}
			default:
				op.Kind, next[device], left[device] = store.OpDrop, 0, nil
			}
			p := store.AppendOp(nil, &op)
			place++
			if err := all.add(p); err != nil {
				t.Fatal(err)
			}
			parsed, err := store.ParseOp(p)
			if err != nil {
				t.Fatal(err)
			}
			one := single.batch()
			one.add(&parsed, p)
			one.next = place
			if err := single.apply(one); err != nil {
				t.Fatal(err)
			}
			one.close()
			if rng.IntN(30) == 0 {
				apply()
			}
		}
		apply()
		b.close()
		if got, want := keysOf(t, whole), keysOf(t, single); !maps.Equal(got, want) {
			t.Fatalf("seed %d: %d keys, want %d: %q, want %q", seed, len(got), len(want), got, want)
		}
	}
}
