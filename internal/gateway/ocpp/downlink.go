package ocpp

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/ocpp"
)

// downlink is what a charger is asked: one CALL at a time, in the order in which the session gave them. The message id is the session's
// number of the call, so a command that is sent again, also on another connection, has the same one.
type downlink struct {
	open    call // was sent and is not answered; its number is 0 if there is none
	waiting []call

	expired struct { // the last that was not answered in time
		number uint64
		action string
	}
}

// call is a CALL to the charger.
type call struct {
	number  uint64
	action  string
	payload []byte      // while it waits; never changes
	caller  bool        // it has a caller, who may leave; a command has none
	until   time.Time   // nobody waits for its answer any more
	timer   *time.Timer // once it was sent
}

// maxCalls bounds the calls that wait for a charger. The session's own bounds are lower.
const maxCalls = 128

// Call implements ws.Talk: it sends a call, or makes it wait until those before it are answered.
func (c *charger) Call(p *wire.Packet) (refused string) {
	d := &c.down
	object, ok := wire.JSONObject(p.Payload)
	d.waiting = slices.DeleteFunc(d.waiting, c.isGivenUp)
	switch {
	case !isAction(p.Method):
		return fmt.Sprintf("the method is not an action of OCPP: a word of at most %d letters and digits", maxAction)
	case !ok && len(p.Payload) > 0:
		return "the payload of an OCPP call is not a JSON object"
	case len(d.waiting) >= maxCalls:
		return "too many calls wait for the charger's answers"
	}
	next := call{number: p.ID, action: p.Method, payload: object, caller: p.Waits, until: time.Now().Add(p.Timeout)}
	if p.Timeout == 0 {
		next.until = time.Now().Add(c.CallTimeout)
	}
	if d.open.number != 0 {
		d.waiting = append(d.waiting, next)
		return ""
	}
	c.call(next)
	return ""
}

// call sends a CALL.
func (c *charger) call(x call) {
	f := ocpp.Frame{Type: ocpp.Call, ID: strconv.FormatUint(x.number, 10), Action: x.action, Payload: x.payload}
	c.publish(down, x.action, c.send(&f))
	x.payload = nil
	x.timer = time.AfterFunc(min(c.CallTimeout, time.Until(x.until)), func() {
		c.device.Do(func() { c.expire(x.number) })
	})
	c.down.open = x
}

// isGivenUp reports whether nobody waits for the answer to a call that was not sent.
func (c *charger) isGivenUp(x call) bool {
	return !time.Now().Before(x.until) || x.caller && !c.device.Link().Waits(x.number)
}

// callNext sends the call that waits first, of those whose callers still wait.
func (c *charger) callNext() {
	d := &c.down
	for d.open.number == 0 && len(d.waiting) > 0 {
		x := d.waiting[0]
		d.waiting[0] = call{} // so that its payload can be freed
		if d.waiting = d.waiting[1:]; len(d.waiting) == 0 {
			d.waiting = nil
		}
		if !c.isGivenUp(x) {
			c.call(x)
		}
	}
}

// expire gives up the answer to a CALL, so that the next can be sent. A later answer may still be that of a command.
func (c *charger) expire(number uint64) {
	d := &c.down
	if d.open.number != number {
		return
	}
	c.fault(noAnswer, d.open.action+" was not answered in time")
	d.expired.number, d.expired.action = number, d.open.action
	d.open = call{}
	c.callNext()
}

// answers handles a CALLRESULT or CALLERROR of the charger.
func (c *charger) answers(f *ocpp.Frame, text []byte) error {
	p := wire.Packet{Payload: f.Payload, ContentType: message.JSON}
	if f.Type == ocpp.CallError {
		p.Payload, p.ContentType = nil, ""
		p.Err = wire.Error{Code: cut(f.Code, maxAction), Reason: cut(f.Description, ocpp.MaxDescription)}
		if p.Err.Code == "" {
			p.Err.Code = c.version.Name(ocpp.GenericError)
		}
	}
	return c.answered(f, &p, text)
}

// answered gives the session the reply to a call. Without a text it is not published.
func (c *charger) answered(f *ocpp.Frame, reply *wire.Packet, text []byte) error {
	number, err := strconv.ParseUint(f.ID, 10, 64)
	if err != nil || number == 0 || number > wire.MaxID {
		c.fault(unexpectedAnswer, fmt.Sprintf("no CALL has the message id %.40q", f.ID))
		return nil
	}
	d := &c.down
	action := ""
	switch number {
	case d.open.number:
		d.open.timer.Stop()
		action, d.open = d.open.action, call{}
	case d.expired.number:
		c.fault(lateAnswer, d.expired.action+" was answered too late")
		action, d.expired.number = d.expired.action, 0
	default: // perhaps it answers a command that was sent on an earlier connection, which may wait to be sent again
		c.fault(unexpectedAnswer, "the answer is to no CALL of this connection")
		d.waiting = slices.DeleteFunc(d.waiting, func(x call) bool { return x.number == number })
	}
	if action != "" && text != nil {
		c.publish(up, action, text)
	}
	c.callNext()
	reply.Op, reply.ID = wire.Reply, number
	return c.device.Link().Handle(reply)
}

// endDownlink forgets what the charger was asked: the session ends calls, and sends commands again on the next connection.
func (c *charger) endDownlink() {
	if t := c.down.open.timer; t != nil {
		t.Stop()
	}
	c.down = downlink{}
}
