package session

import (
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// answers is the line of publications that wait for their answers, so that answers leave in the order of the
// publications. At Config.Unanswered of them the gateway stops reading the device.
type answers struct {
	line   []answer
	left   uint32   // how many have left the line: the place of its first
	fences int      // other packets whose answers wait for the store to be safe
	asks   int      // publications about which the owner before is asked: until then the device is not read
	first  int      // of those, the subscriptions: no message is sent before their answers
	sought []sought // in a cluster, for the subscriptions of the packet that is handled
	paused bool     // the device is not read
	untold bool     // one of the line is a refusal that the device cannot be told, see untellable
}

type answer struct {
	of    wire.Op // Pub, or Call for a publication that is for the gateway itself
	id    uint64
	qos   message.QoS
	ready bool
	err   wire.Error
}

// place returns the place in the line that the next publication gets: its number, from 0, since the line was empty. A
// device may use an identifier twice, so publications are told apart by their places.
func (l *Link) place() uint32 {
	if l.answers == nil {
		return 0
	}
	return l.answers.left + uint32(len(l.answers.line))
}

// answer sends the answer to a publication, or keeps it until the answers before it have left.
func (l *Link) answer(id uint64, q message.QoS, err wire.Error) { l.answerAs(wire.Pub, id, q, err) }

func (l *Link) answerAs(of wire.Op, id uint64, q message.QoS, err wire.Error) {
	if l.answers == nil || len(l.answers.line) == 0 {
		l.acknowledge(of, q, id, err)
		return
	}
	l.answers.line = append(l.answers.line, answer{of, id, q, true, err})
	l.answers.untold = l.answers.untold || l.untellable(err)
	l.throttle()
}

// await adds a publication to the line, at place; settle gives its answer later.
func (l *Link) await(id uint64, q message.QoS) { l.awaitAs(wire.Pub, id, q) }

func (l *Link) awaitAs(of wire.Op, id uint64, q message.QoS) {
	if l.answers == nil {
		l.answers = new(answers)
	}
	l.answers.line = append(l.answers.line, answer{of: of, id: id, qos: q})
	l.throttle()
}

// settle gives the publication at a place its answer, and sends the answers that are next in order. After the
// connection has ended there is no line. On the loop.
func (l *Link) settle(place uint32, err wire.Error) {
	if l.answers == nil {
		return
	}
	if i := int(place - l.answers.left); i < len(l.answers.line) {
		l.answers.line[i].ready, l.answers.line[i].err = true, err
		l.answers.untold = l.answers.untold || l.untellable(err)
	}
	for len(l.answers.line) > 0 && l.answers.line[0].ready {
		first := l.answers.line[0]
		l.answers.line = l.answers.line[1:]
		l.answers.left++
		l.acknowledge(first.of, first.qos, first.id, first.err)
		if l.answers == nil { // acknowledge has ended the connection
			return
		}
	}
	l.afterAnswer()
}

// untellable reports whether the device cannot be told a refusal, so that its connection ends when it is the turn of this answer. The
// device then sends again what has no answer. To keep its order, nothing that it has sent behind the refused publication may be taken until then.
func (l *Link) untellable(err wire.Error) bool {
	if err.Code == "" || Final(err.Code) {
		return false
	}
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mqtt != nil && s.mqtt.noRefusals
}

// Final reports whether a publication that was refused with this code would be refused again. A device that cannot be told a refusal gets
// an acknowledgement for it: otherwise it would repeat it for ever.
func Final(code string) bool {
	switch code {
	case CodeNotAllowed, CodeNotRetained, CodeBadTopic, CodeTooLarge:
		return true
	}
	return false
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

// WhenSafe calls answer, which writes a packet, once everything that the session has given to the store is safe: at
// once if the session is not durable, otherwise on the loop, unless the connection ends before. If the store fails,
// WhenSafe closes the connection. At Config.Unanswered waiting answers the gateway stops reading the device.
func (l *Link) WhenSafe(answer func()) {
	if !l.Durable() {
		answer()
		return
	}
	l.afterFence(answer)
}

// afterFence calls answer when the store's fence has passed.
func (l *Link) afterFence(answer func()) {
	if l.answers == nil {
		l.answers = new(answers)
	}
	l.answers.fences++
	l.throttle()
	l.session.manager.store.Commit(func(err error) { l.conn.Do(func() { l.safe(err, answer) }) })
}

// safe runs on the loop when a fence of afterFence has passed.
func (l *Link) safe(err error, answer func()) {
	switch {
	case l.answers == nil:
		return
	case err != nil:
		l.conn.Close(wire.CloseInternal.Because("the gateway cannot store the change that the packet asks for")) // err may name files; the store has logged it
		return
	}
	l.answers.fences--
	answer()
	if l.answers != nil { // answer has not ended the connection
		l.afterAnswer()
	}
}

// WhenSubscribed is WhenSafe for the answer to a subscription: the session sends no message before it. In a cluster it also waits until all
// nodes know of the subscription; if they cannot be told for a while, messages do not wait for that.
func (l *Link) WhenSubscribed(answer func()) {
	clustered := l.session.manager.config.Owners != nil
	if !clustered && !l.Durable() {
		answer()
		return
	}
	var done []sought
	if l.answers != nil {
		done, l.answers.sought = l.answers.sought, nil
	}
	l.afterFence(func() {
		if clustered {
			l.answers.fences++
			l.whenAnnounced(true, func() {
				l.takeMissed(done)
				answer()
			})
			return
		}
		l.answers.first--
		answer()
		l.conn.Wake()
	})
	l.answers.first++
}

// announceAgain is how long a link waits before it asks again whether all nodes know of a subscription.
const announceAgain = time.Second

// whenAnnounced calls answer on the loop when all nodes of the cluster know of the session's subscriptions, however long that takes. first says that
// messages wait as well.
func (l *Link) whenAnnounced(first bool, answer func()) {
	l.session.manager.router.WhenAnnounced(func(err error) {
		l.conn.Do(func() { l.announced(err, first, answer) })
	})
}

func (l *Link) announced(err error, first bool, answer func()) {
	if l.answers == nil {
		return
	}
	if first {
		l.answers.first--
		l.conn.Wake()
	}
	if err != nil {
		time.AfterFunc(announceAgain, func() { l.conn.Do(func() { l.whenAnnounced(false, answer) }) })
		return
	}
	l.answers.fences--
	answer()
	if l.answers != nil { // answer has not ended the connection
		l.afterAnswer()
	}
}

// subscribing reports whether the answer to a subscription waits, so that no message may be sent.
func (l *Link) subscribing() bool { return l.answers != nil && l.answers.first > 0 }

// afterAnswer resumes reading if enough answers have left, and removes an empty line.
func (l *Link) afterAnswer() {
	l.throttle()
	if len(l.answers.line)+l.answers.fences+l.answers.asks == 0 {
		l.answers = nil
	}
}

// throttle stops reading a publisher when Config.Unanswered answers wait, and TCP slows the publisher down. It resumes
// reading when half of them have left, not at each one.
func (l *Link) throttle() {
	a, most := l.answers, l.session.manager.config.Unanswered
	switch n := len(a.line) + a.fences; {
	case !a.paused && (n >= most || a.asks > 0):
		a.paused = true
		l.conn.SetReading(false)
	case a.paused && n <= most/2 && a.asks == 0:
		a.paused = false
		l.conn.SetReading(true)
	}
}

// Stuck reports whether a device that cannot be refused is in a deadlock: the gateway does not read it because its
// publications wait, and its acknowledgements, for which messages in its own line wait, are behind them.
func (l *Link) Stuck() bool {
	if l.answers == nil || !l.answers.paused {
		return false
	}
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == l && s.waiting != nil && s.mqtt != nil && s.mqtt.noRefusals
}

// acks holds packets for answers: a packet is large, and every publication needs one.
var acks = sync.Pool{New: func() any { return &wire.Packet{Op: wire.Ack} }}

// acknowledge answers a packet of the device; q is the QoS of a publication.
func (l *Link) acknowledge(of wire.Op, q message.QoS, id uint64, err wire.Error) {
	if of == wire.Pub && err.Code == "" {
		l.session.fromDevice.acknowledged.Add(1) // this connection has routed the publication, so fromDevice is there
	}
	p := acks.Get().(*wire.Packet)
	p.Of, p.QoS, p.ID, p.Err = of, q, id, err
	l.conn.Answer(p)
	acks.Put(p)
}
