package mqtt

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/longline/longline/internal/bridge"
)

// line is the publications of QoS 1 of one connection that are not acknowledged, in the order in which they came, in which they are
// acknowledged: MQTT 5 §4.6.
type line struct {
	conn   *bridge.Conn
	failed chan struct{} // closed when a publication has failed
	// known are those that an earlier connection brought and that are done, by identifier, with their hashes: the broker sends them again. Owned by the
	// goroutine that calls Run.
	known map[uint16]uint64

	mu      sync.Mutex
	waiting []*turn
	why     error         // of the first that has failed
	moved   chan struct{} // not nil while await waits
}

// turn is the place of a publication in a line.
type turn struct {
	id     uint16
	hash   uint64
	state  state
	lineUp *line
}

type state uint8

const (
	open state = iota
	done
	failed
)

var seed = maphash.MakeSeed()

// hash returns the hash of a publication that the broker may send again.
func (p *publication) hash() uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.WriteString(p.topic)
	_ = h.WriteByte(0)
	_, _ = h.Write(p.payload)
	return h.Sum64()
}

// again reports whether p was done already, when its acknowledgement had no connection any more. It is acknowledged then.
func (l *line) again(p *publication) bool {
	hash, ok := l.known[p.id]
	if !ok || p.qos == 0 {
		return false
	}
	delete(l.known, p.id)
	if !p.again || hash != p.hash() {
		return false
	}
	l.add(p)(nil)
	return true
}

// add puts a publication at the end of the line, and returns the function that takes what has become of it.
func (l *line) add(p *publication) (confirmed func(error)) {
	if p.qos == 0 {
		return l.unordered
	}
	t := &turn{id: p.id, hash: p.hash(), lineUp: l}
	l.mu.Lock()
	l.waiting = append(l.waiting, t)
	l.mu.Unlock()
	return t.confirmed
}

// unordered is confirmed of a publication of QoS 0, which has no acknowledgement and does not come again.
func (l *line) unordered(error) {}

// confirmed notes that a publication is done, or has failed. It acknowledges what is done from the beginning of the line on.
func (t *turn) confirmed(err error) {
	l := t.lineUp
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.state = done; err != nil {
		t.state = failed
		if l.why == nil {
			l.why = err
			close(l.failed)
		}
	}
	if l.conn.Err() == nil {
		l.acknowledge()
	}
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

// acknowledge acknowledges what is done, from the beginning of the line on. mu is held.
func (l *line) acknowledge() {
	n := 0
	for n < len(l.waiting) && l.waiting[n].state == done {
		n++
	}
	if n == 0 {
		return
	}
	ids := make([]uint16, n)
	for i, t := range l.waiting[:n] {
		ids[i] = t.id
	}
	clear(l.waiting[:n])
	l.waiting = l.waiting[n:]
	l.conn.Acknowledge(ids...)
}

// err returns why a publication has failed, nil if none has.
func (l *line) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

// settle waits until it is known what became of all publications in the line, whose connection has ended, but not for longer than patience. It
// returns those that are done and whose acknowledgement was not sent, up to the first that is not: what is behind that one has to come again in order.
func (l *line) settle(ctx context.Context, patience time.Duration) (known map[uint16]uint64) {
	l.await(patience, ctx.Done())
	l.mu.Lock()
	defer l.mu.Unlock()
	known = make(map[uint16]uint64)
	for _, t := range l.waiting {
		if t.state != done {
			break
		}
		known[t.id] = t.hash
	}
	return known
}

// finish waits until all publications in the line are acknowledged, but not for longer than patience, nor if that is in vain.
func (l *line) finish(patience time.Duration) {
	if l.err() == nil {
		l.await(patience, l.conn.Done())
	}
}

// await waits until no publication in the line is open, but not for longer than patience, nor when vain is closed.
func (l *line) await(patience time.Duration, vain <-chan struct{}) {
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		moved := l.next()
		if moved == nil {
			return
		}
		select {
		case <-moved:
		case <-late.C:
			return
		case <-vain:
			return
		}
	}
}

// next returns a channel that is closed when the next publication is confirmed, nil if none is open.
func (l *line) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.ContainsFunc(l.waiting, func(t *turn) bool { return t.state == open }) {
		return nil
	}
	if l.moved == nil {
		l.moved = make(chan struct{})
	}
	return l.moved
}
