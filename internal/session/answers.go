package session

import (
	"slices"
	"sync"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// answers is the line of publications that wait for their answer, so that answers leave in
// the order of the publications. It has a bound: beyond it the device is not read.
type answers struct {
	line   []answer
	fences int  // other packets whose answers wait for the store
	first  int  // of those, the ones before whose answers nothing is sent
	paused bool // the device is not read
}

type answer struct {
	id    uint64
	qos   message.QoS
	ready bool
	err   wire.Error
}

// answer sends the answer to a publication, behind those that still wait.
func (l *Link) answer(id uint64, q message.QoS, err wire.Error) {
	if l.answers == nil || len(l.answers.line) == 0 {
		l.acknowledge(wire.Pub, q, id, err)
		return
	}
	l.answers.line = append(l.answers.line, answer{id, q, true, err})
	l.throttle()
}

// await keeps a publication's place in the line.
func (l *Link) await(id uint64, q message.QoS) {
	if l.answers == nil {
		l.answers = new(answers)
	}
	l.answers.line = append(l.answers.line, answer{id: id, qos: q})
	l.throttle()
}

// awaitOnce is await for a publication that is repeated, perhaps on the connection on which it
// has its place already: it is answered once.
func (l *Link) awaitOnce(id uint64, q message.QoS) {
	if l.answers == nil || l.answers.find(id, q) < 0 {
		l.await(id, q)
	}
}

// find returns the place of the first publication that waits and has the id, or -1.
func (a *answers) find(id uint64, q message.QoS) int {
	return slices.IndexFunc(a.line, func(x answer) bool { return !x.ready && x.id == id && x.qos == q })
}

// settle gives a waiting publication its answer and sends what is ready in order. One that an
// older connection made is not there, unless it was repeated; nor is any once the connection has ended.
func (l *Link) settle(id uint64, q message.QoS, err wire.Error) {
	if l.answers == nil {
		return
	}
	if i := l.answers.find(id, q); i >= 0 {
		l.answers.line[i].ready, l.answers.line[i].err = true, err
	}
	for len(l.answers.line) > 0 && l.answers.line[0].ready {
		first := l.answers.line[0]
		l.answers.line = l.answers.line[1:]
		l.acknowledge(wire.Pub, first.qos, first.id, first.err)
		if l.answers == nil { // that has ended the connection
			return
		}
	}
	l.rest()
}

// Durable reports whether answers about the session wait for the store, see WhenSafe.
func (l *Link) Durable() bool {
	s := l.session
	if !s.manager.durable {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable()
}

// WhenSafe calls answer when what the store was told about the session so far is safe: at once if nothing is to be
// waited for, else on the loop, unless the connection has ended by then. answer writes a packet. If the
// store fails the connection is closed. A device that waits for many answers is not read.
func (l *Link) WhenSafe(answer func()) {
	if !l.Durable() {
		answer()
		return
	}
	l.afterFence(answer)
}

func (l *Link) afterFence(answer func()) {
	if l.answers == nil {
		l.answers = new(answers)
	}
	l.answers.fences++
	l.throttle()
	l.session.manager.store.Commit(func(err error) { l.conn.Do(func() { l.safe(err, answer) }) })
}

// safe is called on the loop when a fence of WhenSafe has passed.
func (l *Link) safe(err error, answer func()) {
	switch {
	case l.answers == nil:
		return
	case err != nil:
		l.conn.Close(wire.CloseInternal.Because("the node cannot store what it has to answer for: " + err.Error()))
		return
	}
	l.answers.fences--
	answer()
	if l.answers != nil { // that has not ended the connection
		l.rest()
	}
}

// WhenSubscribed is WhenSafe for the answer to a subscription: no message leaves before it.
func (l *Link) WhenSubscribed(answer func()) {
	if !l.Durable() {
		answer()
		return
	}
	l.afterFence(func() {
		l.answers.first--
		answer()
		l.conn.Wake()
	})
	l.answers.first++
}

// holds reports whether nothing may be sent yet.
func (l *Link) holds() bool { return l.answers != nil && l.answers.first > 0 }

// rest lets the device be read again, and lets go of a line that is empty.
func (l *Link) rest() {
	l.throttle()
	if len(l.answers.line)+l.answers.fences == 0 {
		l.answers = nil
	}
}

// throttle slows a publisher down whose answers wait: TCP does the rest. It is read again when half of
// them have left, not at each one.
func (l *Link) throttle() {
	a, most := l.answers, l.session.manager.config.Unanswered
	switch n := len(a.line) + a.fences; {
	case !a.paused && n >= most:
		a.paused = true
		l.conn.SetReading(false)
	case a.paused && n <= most/2:
		a.paused = false
		l.conn.SetReading(true)
	}
}

// Stuck tells whether a patient device is not read although messages wait for room in its
// queue: for acknowledgements that come behind its own publications, which may wait for it.
func (l *Link) Stuck() bool {
	if l.answers == nil || !l.answers.paused {
		return false
	}
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == l && s.waiting != nil && s.mqtt != nil && s.mqtt.patient
}

// acks are packets to answer with: one is large, and needed for every publication.
var acks = sync.Pool{New: func() any { return &wire.Packet{Op: wire.Ack} }}

// acknowledge answers a packet of the device; q is that of a publication.
func (l *Link) acknowledge(of wire.Op, q message.QoS, id uint64, err wire.Error) {
	p := acks.Get().(*wire.Packet)
	p.Of, p.QoS, p.ID, p.Err = of, q, id, err
	l.conn.Answer(p)
	acks.Put(p)
}
