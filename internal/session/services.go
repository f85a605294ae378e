package session

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/wire"
)

// Services are what devices may call. service.Set implements it, and says what its methods do.
type Services interface {
	// Begin begins a call, and checks the names in it. It is called on loops, with no lock held.
	Begin(name string, c *service.Call, timeout time.Duration, done func(*service.Reply)) (cancel func())
}

// Codes of refused calls, besides those of package service and of publications. They are part of the protocol with devices.
const (
	CodeIDInUse = "id_in_use" // another call with the id is under way
	CodeLost    = "lost"      // the call came on an earlier connection, and its answer is not known
)

// serviceCalls are the calls of one connection. Owned by its loop.
type serviceCalls struct {
	open    map[uint64]*serviceCall // by their ids: those whose replies were not written
	replies []*serviceCall          // of open, those that have a reply, which waits for room in the socket; in order
	last    uint64                  // the id of the last call that came without one
}

// serviceCall is a call of a device that a service has to answer. It counts, for its device and in the account, until its
// reply was written or, if its connection ends before, until the service has let go of it.
type serviceCall struct {
	// Static after construction.
	link    *Link
	id      uint64
	request *message.Request // of MQTT 5: where the reply goes; nil otherwise
	debtor  message.Debtor

	// Handed on: from begin to done, and then to the loop.
	bytes int64 // in the account
	reply *service.Reply

	// Owned by the loop.
	cancel  func()
	replied bool // the loop has the reply
}

// callBytes is what a call takes besides its contents.
const callBytes = 512

// callService begins a call of the device to a service, or refuses it. If ID is 0, the protocol pairs replies by
// p.Message.Request alone.
func (l *Link) callService(p *wire.Packet) error {
	if p.Service == "" {
		return wire.CloseContract.Because("call: service missing")
	}
	if l.services == nil {
		l.services = &serviceCalls{open: make(map[uint64]*serviceCall)}
	}
	if p.ID == 0 {
		l.services.last++
		p.ID = l.services.last
	}
	d := message.DebtorOf(l.session.device, credentialOf(l.permissions))
	switch refused, live := l.admitCall(p, d); {
	case !live:
	case refused.Code != "":
		l.refuseCall(p, refused)
	default:
		l.begin(p, d)
	}
	l.dropServices()
	return nil
}

// admitCall counts a call, or returns why it is refused. live is false if a newer connection is attached.
func (l *Link) admitCall(p *wire.Packet, d message.Debtor) (refused wire.Error, live bool) {
	s := l.session
	m := s.manager
	switch {
	case l.services.open[p.ID] != nil:
		refused = wire.Error{Code: CodeIDInUse, Reason: "another call with this id is not answered yet"}
	case l.permissions != nil && !l.permissions.MayCall(s.device, p.Service):
		refused = wire.Error{Code: CodeNotAllowed, Reason: "the device is not allowed to call this service"}
	case m.config.Services == nil:
		refused = wire.Error{Code: service.UnknownService, Reason: "no service has this name"}
	case m.draining.Load():
		refused = wire.Error{Code: service.Unavailable, Reason: "the gateway is about to end this connection; call again on the next one"}
	case m.shedding.Load():
		refused = wire.Error{Code: service.Busy, Reason: "the node is short of memory"}
	default:
		if err := m.router.CheckQuota(d); err != nil {
			refused = refusal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.link != l:
		return refused, false
	case refused.Code != "":
	case int(s.serviceCalls) >= m.config.ServiceCalls:
		refused = wire.Error{Code: service.Busy, Reason: "as many calls of the device are under way as sessions.service_calls allows"}
	default:
		s.serviceCalls++
	}
	return refused, true
}

// begin gives a call that was counted to its service.
func (l *Link) begin(p *wire.Packet, d message.Debtor) {
	m := l.session.manager
	call := &service.Call{
		Device:      l.session.device,
		Method:      strings.Clone(p.Method),
		Payload:     bytes.Clone(p.Payload),
		ContentType: strings.Clone(p.ContentType),
	}
	if t := message.TraceOf(p.Message.Properties); t != nil {
		call.Trace = t.String()
	}
	c := &serviceCall{link: l, id: p.ID, debtor: d, bytes: callBytes + int64(len(p.Payload)+len(p.ContentType)+len(p.Method))}
	if r := p.Message.Request; r != nil {
		c.request = &message.Request{ResponseTopic: strings.Clone(r.ResponseTopic), CorrelationData: bytes.Clone(r.CorrelationData)}
		c.bytes += int64(len(r.ResponseTopic) + len(r.CorrelationData))
	}
	m.router.Account().Count(d, c.bytes)
	m.serviceCalls.open.Add(1)
	l.services.open[c.id] = c
	c.cancel = m.config.Services.Begin(strings.Clone(p.Service), call, p.Timeout, c.done)
}

// done hands the reply to the connection's loop. Safe from any goroutine.
func (c *serviceCall) done(r *service.Reply) {
	more := int64(len(r.Payload) + len(r.ContentType))
	c.link.session.manager.router.Account().Count(c.debtor, more)
	c.bytes += more
	c.reply = r
	c.link.conn.Loop().settle(settlement{call: c})
}

// replyNow writes the reply of a call as soon as the socket has room. On the loop, perhaps after the connection has ended.
func (c *serviceCall) replyNow() {
	l := c.link
	c.replied = true
	if l.services == nil || l.services.open[c.id] != c {
		c.end(CodeLost)
		return
	}
	l.services.replies = append(l.services.replies, c)
	l.sendReplies()
}

// sendReplies writes the replies that the socket has room for.
func (l *Link) sendReplies() {
	for l.services != nil && len(l.services.replies) > 0 && l.conn.Room() {
		c := l.services.replies[0]
		l.services.replies = l.services.replies[1:]
		delete(l.services.open, c.id)
		c.end(l.writeReply(c))
	}
	l.dropServices()
}

// dropServices gives back the memory of a connection without calls. Only the last id is needed later.
func (l *Link) dropServices() {
	if x := l.services; x != nil && len(x.open) == 0 && x.last == 0 {
		l.services = nil
	}
}

// writeReply writes the reply to a call, and returns the code that the device gets; empty if it gets the answer.
func (l *Link) writeReply(c *serviceCall) (code string) {
	p := wire.Packet{Op: wire.Reply, ID: c.id, Payload: c.reply.Payload, ContentType: c.reply.ContentType}
	p.Message.Request = c.request
	if c.reply.Err.Code != "" {
		p.Payload, p.ContentType, p.Err = nil, "", wire.Error(c.reply.Err)
	}
	refused := l.conn.Reply(&p)
	if refused.Code != "" {
		p.Payload, p.ContentType, p.Err = nil, "", refused
		l.conn.Reply(&p)
	}
	return p.Err.Code
}

// refuseCall refuses a call that was not begun.
func (l *Link) refuseCall(p *wire.Packet, refused wire.Error) {
	l.session.manager.serviceCalls.count(refused.Code)
	r := wire.Packet{Op: wire.Reply, ID: p.ID, Err: refused}
	r.Message.Request = p.Message.Request
	l.conn.Reply(&r)
}

// end forgets a call and counts what became of it.
func (c *serviceCall) end(code string) {
	s := c.link.session
	s.manager.router.Account().Count(c.debtor, -c.bytes)
	s.manager.serviceCalls.open.Add(-1)
	s.manager.serviceCalls.count(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serviceCalls--
}

// cancelServiceCalls ends the calls of a connection that has ended: nobody waits for them. On the loop, without locks.
func (l *Link) cancelServiceCalls() {
	x := l.services
	if x == nil {
		return
	}
	l.services = nil
	for _, c := range x.open {
		if c.replied {
			c.end(CodeLost)
		} else {
			c.cancel() // replyNow ends it
		}
	}
}

// CallStats are the counters of the calls of devices to services. Safe from any goroutine.
type CallStats struct {
	open  atomic.Int64
	ended [len(callOutcomes)]atomic.Uint64
}

// callOutcomes are what becomes of a call: it is answered, or refused with a code. The first stands for the codes of services too.
var callOutcomes = [...]string{
	service.Failed, answered, CodeLost, CodeIDInUse, CodeNotAllowed, CodeQuota, service.UnknownService, service.UnknownMethod,
	service.Busy, service.Unavailable, service.Timeout, service.TooLarge, service.InvalidAnswer,
}

const answered = "answered"

// count counts a call that has ended with a code; empty if it was answered.
func (x *CallStats) count(code string) {
	if code == "" {
		code = answered
	}
	x.ended[max(0, slices.Index(callOutcomes[:], code))].Add(1)
}

// Open returns the number of calls under way.
func (x *CallStats) Open() int64 { return x.open.Load() }

// Each calls yield with every outcome's label and count.
func (x *CallStats) Each(yield func(outcome string, n uint64)) {
	for i, label := range callOutcomes {
		yield(label, x.ended[i].Load())
	}
}

// RefusedHere reports whether a call with this code of refusal was refused by the gateway, and not by the service.
func RefusedHere(code string) bool { return slices.Index(callOutcomes[:], code) > 0 }

// ServiceCalls returns the counters of the calls of devices to services.
func (m *Manager) ServiceCalls() *CallStats { return &m.serviceCalls }

// Drain refuses calls of devices to services from now on.
func (m *Manager) Drain() { m.draining.Store(true) }
