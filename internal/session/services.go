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

// serviceCalls are the calls of one connection that have no reply yet, or one that was not written. Owned by its loop, which has
// none for most connections.
type serviceCalls struct {
	open    map[uint64]*serviceCall // by their ids
	replies []*serviceCall          // of open: their replies wait for room in the socket, in this order
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

// callService begins a call of the device to a service, or refuses it. An ID of 0 stands for a protocol that finds the call of a
// reply by Message.Request.
func (l *Link) callService(p *wire.Packet) error {
	if p.Service == "" {
		return wire.CloseContract.Because("call: service missing")
	}
	if p.ID == 0 {
		loop := l.conn.Loop()
		loop.lastCall++
		p.ID = loop.lastCall
	}
	d := message.DebtorOf(l.session.device, credentialOf(l.permissions))
	switch refused, live := l.admitCall(p, d); {
	case !live:
	case refused.Code != "":
		l.RefuseCall(p, refused)
	default:
		l.begin(p, d)
	}
	return nil
}

// calls returns the calls of the connection, nil if there are none. On the loop.
func (l *Link) calls() *serviceCalls { return l.conn.Loop().calls[l] }

// isOpen reports whether a call is under way.
func (l *Link) isOpen(id uint64) bool {
	x := l.calls()
	return x != nil && x.open[id] != nil
}

// open adds a call.
func (l *Link) open(c *serviceCall) {
	x := l.calls()
	if x == nil {
		x = &serviceCalls{open: make(map[uint64]*serviceCall)}
		l.conn.Loop().calls[l] = x
	}
	x.open[c.id] = c
}

// admitCall counts a call, or returns why it is refused. live is false if a newer connection is attached.
func (l *Link) admitCall(p *wire.Packet, d message.Debtor) (refused wire.Error, live bool) {
	s := l.session
	m := s.manager
	switch {
	case l.isOpen(p.ID):
		refused = wire.Error{Code: CodeIDInUse, Reason: "another call with this id is not answered yet"}
	case l.permissions != nil && !l.permissions.MayCall(s.device, p.Service):
		refused = wire.Error{Code: CodeNotAllowed, Reason: "the device is not allowed to call this service"}
	case m.config.Services == nil:
		refused = wire.Error{Code: service.UnknownService, Reason: "no service has this name"}
	case m.draining.Load():
		refused = wire.Error{Code: service.Unavailable, Reason: "the gateway is about to end this connection; call again on the next one"}
	case m.shedding.Load():
		refused = wire.Error{Code: service.Busy, Reason: "the node is short of memory"}
	case m.router.Short(d):
		refused = wire.Error(tooMuchKept)
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
	m.callStats.open.Add(1)
	l.open(c)
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
	c.replied = true
	x := c.link.calls()
	if x == nil || x.open[c.id] != c {
		c.end(CodeLost)
		return
	}
	x.replies = append(x.replies, c)
	c.link.sendReplies()
	if x = c.link.calls(); x == nil || x.open[c.id] != c {
		return // it was written, or an earlier one has ended the connection
	}
	if s := c.link.session; s.manager.router.Short(c.debtor) { // it has to wait
		size := int64(len(c.reply.Payload))
		c.reply = &service.Reply{Err: tooMuchKept}
		c.bytes -= size
		s.manager.router.Account().Count(c.debtor, -size)
	}
}

// tooMuchKept refuses a call that would take memory, or whose answer does because the device does not read it.
var tooMuchKept = service.Refusal{Code: CodeQuota, Reason: "the node keeps as much as it may, for all devices or for this one"}

// sendReplies writes the replies that the socket has room for. On the loop, without locks.
func (l *Link) sendReplies() {
	if len(l.conn.Loop().calls) == 0 {
		return
	}
	for x := l.calls(); x != nil && len(x.replies) > 0 && l.conn.Room(); x = l.calls() {
		c := x.replies[0]
		x.replies = x.replies[1:]
		if delete(x.open, c.id); len(x.open) == 0 {
			delete(l.conn.Loop().calls, l)
		}
		c.end(l.writeReply(c))
	}
}

// writeReply writes the reply to a call, and returns the code that the device gets; empty if it gets the answer.
func (l *Link) writeReply(c *serviceCall) (code string) {
	p := &l.conn.Loop().reply
	defer p.Reset()
	p.Op, p.ID, p.Message.Request, p.Err = wire.Reply, c.id, c.request, wire.Error(c.reply.Err)
	if p.Err.Code == "" {
		p.Payload, p.ContentType = c.reply.Payload, plainJSON(c.reply.ContentType)
	}
	if refused := l.conn.Reply(p); refused.Code != "" {
		p.Payload, p.ContentType, p.Err = nil, "", refused
		_ = l.conn.Reply(p) // a device that cannot even get the refusal gets nothing
	}
	return p.Err.Code
}

// plainJSON returns the content type without parameters if it is JSON: RFC 8259 §11 has none, but many services add a charset.
func plainJSON(contentType string) string {
	if kind, _, _ := strings.Cut(contentType, ";"); strings.EqualFold(strings.TrimSpace(kind), message.JSON) {
		return message.JSON
	}
	return contentType
}

// RefuseCall refuses a call that is not begun, and counts it.
func (l *Link) RefuseCall(p *wire.Packet, refused wire.Error) {
	l.session.manager.callStats.count(refused.Code)
	r := &l.conn.Loop().reply
	defer r.Reset()
	r.Op, r.ID, r.Message.Request, r.Err = wire.Reply, p.ID, p.Message.Request, refused
	_ = l.conn.Reply(r)
}

// end forgets a call and counts what became of it.
func (c *serviceCall) end(code string) {
	s := c.link.session
	s.manager.router.Account().Count(c.debtor, -c.bytes)
	s.manager.callStats.open.Add(-1)
	s.manager.callStats.count(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serviceCalls--
}

// cancelServiceCalls ends the calls of a connection that has ended: nobody waits for them. On the loop, without locks.
func (l *Link) cancelServiceCalls() {
	x := l.calls()
	if x == nil {
		return
	}
	delete(l.conn.Loop().calls, l)
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
	service.Failed, answered, CodeLost, CodeIDInUse, CodeNotAllowed, CodeBadTopic, CodeQuota, CodeInternal, service.UnknownService, service.UnknownMethod,
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

// Calls returns the counters of the calls of devices to services.
func (m *Manager) Calls() *CallStats { return &m.callStats }

// Drain refuses calls of devices to services from now on.
func (m *Manager) Drain() { m.draining.Store(true) }
