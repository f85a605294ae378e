package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// model is a queue in the plainest form.
type model struct {
	limits  store.Limits
	entries []modelEntry
	expired int

	packets  bool // NextPacket is used
	last     uint16
	released []modelRelease
}

type modelRelease struct {
	id   uint16
	told bool
}

type modelEntry struct {
	m         *message.Message
	qos       message.QoS
	due       time.Time
	sent      bool
	conflates bool
	id        uint16
}

func (o *model) bytes() (n int) {
	for _, e := range o.entries {
		n += e.m.Size()
	}
	return n
}

func (o *model) inFlight() (n int) {
	for _, e := range o.entries {
		if e.sent {
			n++
		}
	}
	return n
}

// remove takes out the entries that match and returns how many there were.
func (o *model) remove(match func(modelEntry) bool) int {
	before := len(o.entries)
	o.entries = slices.DeleteFunc(o.entries, func(e modelEntry) bool {
		if !match(e) {
			return false
		}
		o.lose(e)
		return true
	})
	return before - len(o.entries)
}

// lose is for an entry that leaves without an acknowledgement.
func (o *model) lose(e modelEntry) {
	if e.id != 0 && e.qos == qos2 {
		o.released = append(o.released, modelRelease{id: e.id})
	}
}

func (o *model) push(m *message.Message, q message.QoS, now time.Time) error {
	if m.Size() > o.limits.Bytes {
		return store.ErrTooLarge
	}
	full := func() bool { return len(o.entries) >= o.limits.Count || o.bytes()+m.Size() > o.limits.Bytes }
	if full() {
		o.expired += o.remove(func(e modelEntry) bool { return !e.sent && !now.Before(e.due) })
	}
	if full() {
		return store.ErrFull
	}
	for i := range o.entries {
		if o.entries[i].m.Topic == m.Topic {
			o.entries[i].conflates = false
		}
	}
	o.entries = append(o.entries, modelEntry{m: m, qos: q, due: o.due(m, now)})
	return nil
}

func (o *model) due(m *message.Message, now time.Time) time.Time {
	due := now.Add(o.limits.Age)
	if at := time.UnixMilli(m.Expiry); m.Expiry != 0 && at.Before(due) {
		return at
	}
	return due
}

func (o *model) conflate(m *message.Message, now time.Time) (*message.Message, error) {
	i := slices.IndexFunc(o.entries, func(e modelEntry) bool { return e.conflates && e.m.Topic == m.Topic })
	if i < 0 {
		err := o.push(m, message.AtMostOnce, now)
		if err == nil {
			o.entries[len(o.entries)-1].conflates = true
		}
		return nil, err
	}
	e := &o.entries[i]
	switch old := e.m; {
	case m.Size() > o.limits.Bytes:
		return nil, store.ErrTooLarge
	case o.bytes()-old.Size()+m.Size() > o.limits.Bytes:
		return nil, store.ErrFull
	default:
		e.m, e.due = m, o.due(m, now)
		return old, nil
	}
}

func (o *model) dropOldestQoS0() *message.Message {
	i := slices.IndexFunc(o.entries, func(e modelEntry) bool { return !e.sent && e.qos == message.AtMostOnce })
	if i < 0 {
		return nil
	}
	m := o.entries[i].m
	o.entries = slices.Delete(o.entries, i, i+1)
	return m
}

func (o *model) unsent() int {
	return slices.IndexFunc(o.entries, func(e modelEntry) bool { return !e.sent })
}

func (o *model) next(now time.Time) *message.Message {
	for {
		i := o.unsent()
		if i < 0 {
			return nil
		}
		e := &o.entries[i]
		m, over := e.m, !now.Before(e.due)
		e.sent = true
		if o.packets && e.id == 0 && e.qos > 0 && !over {
			e.id = o.unused()
		}
		switch {
		case over || e.qos == message.AtMostOnce:
			if over {
				o.lose(*e)
			}
			o.entries = slices.Delete(o.entries, i, i+1)
		case e.qos == message.ExactlyOnce: // its own expiry is over
			e.due = now.Add(o.limits.Age)
		}
		if !over {
			return m
		}
		o.expired++
	}
}

func (o *model) dropOldest() *message.Message {
	i := o.unsent()
	if i < 0 {
		return nil
	}
	m := o.entries[i].m
	o.lose(o.entries[i])
	o.entries = slices.Delete(o.entries, i, i+1)
	return m
}

func (o *model) unused() uint16 {
	for o.last++; o.find(o.last) != nil || o.release(o.last) >= 0; o.last++ {
	}
	return o.last
}

func (o *model) find(id uint16) *modelEntry {
	i := slices.IndexFunc(o.entries, func(e modelEntry) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return &o.entries[i]
}

func (o *model) release(id uint16) int {
	return slices.IndexFunc(o.released, func(r modelRelease) bool { return r.id == id })
}

func (o *model) acked(id uint16) bool {
	return o.remove(func(e modelEntry) bool { return e.sent && e.id == id && e.qos == qos1 }) > 0
}

func (o *model) received(id uint16) bool {
	switch e := o.find(id); {
	case e != nil && (!e.sent || e.qos != qos2):
		return false
	case e != nil:
		o.remove(func(e modelEntry) bool { return e.id == id })
	}
	i := o.release(id)
	if i >= 0 {
		o.released[i].told = true
	}
	return i >= 0
}

func (o *model) completed(id uint16) bool {
	i := o.release(id)
	if i < 0 || !o.released[i].told {
		return false
	}
	o.released = slices.Delete(o.released, i, i+1)
	return true
}

func (o *model) nextRelease() uint16 {
	for i := range o.released {
		if r := &o.released[i]; !r.told {
			r.told = true
			return r.id
		}
	}
	return 0
}

// rewind is for a new connection, of a device that has packet identifiers or has not.
func (o *model) rewind(packets bool) {
	o.packets = packets
	for i := range o.entries {
		o.entries[i].sent = false
		if !packets {
			o.entries[i].id = 0
		}
	}
	for i := range o.released {
		o.released[i].told = false
	}
	if !packets {
		o.released = nil
	}
}

// Script runs the calls that script spells, two bytes each, on the empty queue of a device of a store with the
// limits, and on a slice, and compares the two after each, and what is found after a kill. It is for
// fuzzing.
func Script(t *testing.T, s Killable, limits store.Limits, script []byte) {
	s.Save(&store.Record{Device: "d"})
	q := s.Queue("d")
	o := runScript(t, s, q, limits, script)
	commit(t, s)
	found := s.Kill(t)[0]
	o.rewind(true)
	o.remove(func(e modelEntry) bool { return e.qos == qos0 })
	again := found.Queue("d")
	compare(t, again, o)
	loadAll(t, found, again)
	if o.packets = true; !slices.EqualFunc(o.entries, packetsLeft(again), func(e modelEntry, p store.Packet) bool {
		return e.m.ID == p.Message.ID && (e.id == 0 || e.id == p.ID)
	}) {
		t.Fatalf("found after a kill: %d messages, want %d", again.Len(), len(o.entries))
	}
}

// packetsLeft takes what is to be sent, at the begin of time.
func packetsLeft(q store.Queue) (all []store.Packet) {
	for p, ok := q.NextPacket(time.Time{}, 0); ok; p, ok = q.NextPacket(time.Time{}, 0) {
		all = append(all, p)
	}
	return all
}

func runScript(t *testing.T, s store.Opener, q store.Queue, limits store.Limits, script []byte) *model {
	o, now := &model{limits: limits}, start
	var pushed []*message.Message
	for ; len(script) >= 2; script = script[2:] {
		arg := int(script[1])
		switch op := script[0] % 22; op {
		case 0, 1, 2, 3: // may expire
			m := msg("a", string(make([]byte, arg&63)))
			if arg&64 != 0 {
				m.Expiry = now.Add(time.Duration(arg&15) * time.Second).UnixMilli()
			}
			got, want := q.Push(m, message.QoS(op%3), now), o.push(m, message.QoS(op%3), now)
			if !errors.Is(got, want) {
				t.Fatalf("Push: %v, want %v", got, want)
			}
			pushed = append(pushed, m)
		case 4, 5, 6:
			m, ok := (*message.Message)(nil), false
			load(t, s, q, q.NextPage(0))
			if o.packets {
				var p store.Packet
				p, ok = q.NextPacket(now, o.last)
				m = p.Message
				if again := p.ID != 0 && o.find(p.ID) != nil; again != p.Again {
					t.Fatalf("%d: again %t, want %t", p.ID, p.Again, again)
				}
			} else {
				m, _, ok = q.Next(now)
			}
			if want := o.next(now); m != want && (!ok || want == nil || m.ID != want.ID) {
				t.Fatalf("Next: %v, want %v", m, want)
			}
		case 7, 8:
			if len(pushed) == 0 {
				continue
			}
			id := pushed[max(0, len(pushed)-1-arg)].ID
			want := o.remove(func(e modelEntry) bool { return e.sent && e.m.ID == id }) > 0
			if q.Ack(id) != want {
				t.Fatalf("Ack: want %v", want)
			}
		case 9:
			now = now.Add(time.Duration(arg) * time.Second / 16)
		case 10:
			if arg&3 == 0 { // those with an even payload
				loadAll(t, s, q)
				removes(t, q, o, now)
				break
			}
			m, ok := q.DropOldest()
			if want := o.dropOldest(); ok != (want != nil) || m != nil && m.ID != want.ID {
				t.Fatalf("DropOldest: %v, want %v", m, want)
			}
		case 11:
			if arg&3 != 0 {
				o.rewind(arg&4 != 0)
				if q.Rewind(); !o.packets {
					loadAll(t, s, q)
					q.ForgetPackets()
				}
			} else if got, want := q.ShedQoS0(), o.remove(func(e modelEntry) bool {
				return !e.sent && e.qos == message.AtMostOnce
			}); got != want {
				t.Fatalf("ShedQoS0: %d, want %d", got, want)
			}
		case 12:
			m, _ := q.DropOldestQoS0()
			if want := o.dropOldestQoS0(); m != want && (m == nil || want == nil || m.ID != want.ID) {
				t.Fatalf("DropOldestQoS0: %v, want %v", m, want)
			}
		case 13, 14, 15: // of a few topics
			m := msg(string('a'+rune(arg&3)), string(make([]byte, arg>>2)))
			old, err := q.Conflate(m, now)
			want, failed := o.conflate(m, now)
			if !errors.Is(err, failed) || old != want && (old == nil || want == nil || old.ID != want.ID) {
				t.Fatalf("Conflate: %v, %v; want %v, %v", old, err, want, failed)
			}
		case 16, 17, 18, 19:
			packetStep(t, q, o, int(op)-16, uint16(arg), now)
		case 20:
			q.Unload(arg & 7)
		case 21:
			load(t, s, q, q.NextPage(arg&7))
		}
		compare(t, q, o)
	}
	return o
}

// packetStep compares an answer of the device, to one of the last identifiers, or what is to be released.
func packetStep(t *testing.T, q store.Queue, o *model, what int, arg uint16, now time.Time) {
	t.Helper()
	id := max(1, o.last-arg&7)
	var got, want bool
	switch what {
	case 0:
		m, _ := q.Acked(id)
		got = m != 0
		want = o.acked(id)
	case 1:
		_, got, _ = q.Received(id, false, now)
		want = o.received(id)
	case 2:
		got, _ = q.Completed(id)
		want = o.completed(id)
	case 3:
		id, _ = q.NextRelease(now)
		got, want = true, o.nextRelease() == id
	}
	if got != want {
		t.Fatalf("answer %d to %d: %t, want %t", what, id, got, want)
	}
}

// removes compares Remove of the messages whose payload has an even length.
func removes(t *testing.T, q store.Queue, o *model, now time.Time) {
	t.Helper()
	var got, want []uint64
	o.expired += o.remove(func(e modelEntry) bool { return !e.sent && !now.Before(e.due) })
	o.remove(func(e modelEntry) bool {
		if e.sent || len(e.m.Payload)%2 != 0 || e.id != 0 && e.qos == qos2 {
			return false
		}
		want = append(want, e.m.ID)
		return true
	})
	n := q.Remove(func(m *message.Message, _ message.QoS) (string, bool) {
		if len(m.Payload)%2 != 0 {
			return "", false
		}
		got = append(got, m.ID)
		return "", true
	}, now)
	if n != len(want) || !slices.Equal(got, want) {
		t.Fatalf("Remove: %d, %v; want %v", n, got, want)
	}
}

func compare(t *testing.T, q store.Queue, o *model) {
	t.Helper()
	got := [...]int{q.Len(), q.Bytes(), q.InFlight(), q.Open(), q.TakeExpired()}
	want := [...]int{len(o.entries), o.bytes(), o.inFlight(), o.inFlight() + len(o.released), o.expired}
	if o.expired = 0; got != want {
		t.Fatalf("messages, bytes, in flight, open, expired: %v, want %v", got, want)
	}
}
