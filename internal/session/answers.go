package session

import (
	"sync"

	"github.com/longline/longline/internal/wire"
)

// answers is the line of publications that wait for their answer, so that answers leave in
// the order of the publications. It has a bound: beyond it the device is not read.
type answers struct {
	line   []answer
	paused bool // the device is not read
}

type answer struct {
	id    uint64
	ready bool
	err   wire.Error
}

// answer sends the answer to a publication, behind those that still wait.
func (l *Link) answer(id uint64, err wire.Error) {
	if l.answers == nil {
		l.acknowledge(id, err)
		return
	}
	l.answers.line = append(l.answers.line, answer{id, true, err})
	l.throttle()
}

// await keeps a publication's place in the line.
func (l *Link) await(id uint64) {
	if l.answers == nil {
		l.answers = new(answers)
	}
	l.answers.line = append(l.answers.line, answer{id: id})
	l.throttle()
}

// settle gives a waiting publication its answer and sends what is ready in order.
func (l *Link) settle(id uint64, err wire.Error) {
	line := l.answers.line
	for i := range line {
		if a := &line[i]; a.id == id && !a.ready {
			a.ready, a.err = true, err
			break
		}
	}
	for len(line) > 0 && line[0].ready {
		l.acknowledge(line[0].id, line[0].err)
		line = line[1:]
	}
	l.answers.line = line
	l.throttle()
	if len(line) == 0 {
		l.answers = nil
	}
}

// throttle slows a publisher down whose answers wait: TCP does the rest.
func (l *Link) throttle() {
	if full := len(l.answers.line) >= l.session.manager.config.Unanswered; full != l.answers.paused {
		l.answers.paused = full
		l.conn.SetReading(!full)
	}
}

// acks are packets to answer with: one is large, and needed for every publication.
var acks = sync.Pool{New: func() any { return &wire.Packet{Op: wire.Ack} }}

// acknowledge answers a packet of the device.
func (l *Link) acknowledge(id uint64, err wire.Error) {
	p := acks.Get().(*wire.Packet)
	p.ID, p.Err = id, err
	l.conn.Answer(p)
	acks.Put(p)
}
