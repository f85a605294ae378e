package ocpp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/ocpp"
)

// uplink is what a charger asks: one CALL at a time is with the service, in the order in which they came. So a MeterValues never
// overtakes the StartTransaction before it, nor anything a BootNotification.
type uplink struct {
	open    ask    // the service has it; its number is 0 if there is none
	waiting []ask  // for the answer to open
	bytes   int    // of those that wait, in the account
	number  uint64 // of the last one that was begun

	last struct{ id, action string } // of the last one that was answered
}

// ask is a CALL of the charger.
type ask struct {
	number  uint64 // by which the session knows it, unique on the connection
	id      string
	bare    bool
	action  string
	payload []byte // while it waits
}

// askBytes is what an ask takes besides its payload.
const askBytes = 512

func (a *ask) size() int { return askBytes + len(a.payload) }

// asks handles a CALL of the charger.
func (c *charger) asks(f *ocpp.Frame, text []byte) error {
	u := &c.up
	if !isAction(f.Action) {
		c.refuseAsk(f, ocpp.NotImplemented, badAction, fmt.Sprintf("the action is not a word of at most %d letters and digits", maxAction))
		return nil
	}
	c.publish(up, f.Action, text)
	busy := u.open.number != 0 || len(u.waiting) > 0
	switch {
	case busy && u.has(f.ID):
		c.refuseAsk(f, ocpp.GenericError, idInUse, "another CALL with this message id is not answered yet")
	case !busy:
		return c.begin(ask{id: strings.Clone(f.ID), bare: f.Bare, action: strings.Clone(f.Action)}, f.Payload)
	case len(u.waiting) >= c.Waiting, u.bytes+len(f.Payload) > c.door.Config.MaxPayload+c.Waiting*askBytes, c.door.Router.Short(c.debtor()):
		c.refuseAsk(f, ocpp.GenericError, tooMany, "too many CALLs wait for the answer to the first; send one at a time, OCPP-J 4.1.1")
	default:
		c.hold(ask{id: strings.Clone(f.ID), bare: f.Bare, action: strings.Clone(f.Action), payload: bytes.Clone(f.Payload)})
	}
	return nil
}

// refuseAsk answers a CALL of the charger that is not begun.
func (c *charger) refuseAsk(f *ocpp.Frame, code ocpp.Code, fault, reason string) {
	c.fault(fault, reason)
	r := c.version.Refuse(f, code, reason)
	text := c.send(&r)
	if fault != badAction {
		c.publish(down, f.Action, text)
	}
}

// has reports whether a CALL with the message id is not answered.
func (u *uplink) has(id string) bool {
	return u.open.number != 0 && u.open.id == id || slices.ContainsFunc(u.waiting, func(a ask) bool { return a.id == id })
}

// hold makes a CALL wait.
func (c *charger) hold(a ask) {
	c.up.waiting = append(c.up.waiting, a)
	c.owe(a.size())
}

// owe counts bytes that the node keeps for the charger.
func (c *charger) owe(n int) {
	c.up.bytes += n
	c.door.Router.Account().Count(c.debtor(), int64(n))
}

// begin gives a CALL to the service. Its answer comes by Reply, perhaps before begin returns. The payload is borrowed.
func (c *charger) begin(a ask, payload []byte) error {
	u := &c.up
	u.number++
	a.number, a.payload = u.number, nil
	u.open = a
	return c.device.Link().Handle(&wire.Packet{
		Op:          wire.Call,
		ID:          a.number,
		Service:     c.Service,
		Method:      a.action,
		Payload:     payload,
		ContentType: message.JSON,
	})
}

// beginNext begins the CALL that waits first.
func (c *charger) beginNext() {
	u := &c.up
	if u.open.number != 0 || len(u.waiting) == 0 {
		return
	}
	a := u.waiting[0]
	u.waiting[0] = ask{} // so that its payload can be freed
	if u.waiting = u.waiting[1:]; len(u.waiting) == 0 {
		u.waiting = nil
	}
	c.owe(-a.size())
	if err := c.begin(a, a.payload); err != nil {
		c.device.Fail(err)
	}
}

// Reply implements ws.Talk: it answers the CALL that the service has.
func (c *charger) Reply(p *wire.Packet) (refused wire.Error) {
	u := &c.up
	if u.open.number == 0 || p.ID != u.open.number {
		return refused
	}
	asked := ocpp.Frame{Type: ocpp.Call, ID: u.open.id, Bare: u.open.bare}
	answer := ocpp.Frame{Type: ocpp.CallResult, ID: asked.ID, Bare: asked.Bare}
	switch object, ok := wire.JSONObject(p.Payload); {
	case p.Err.Code != "":
		answer = c.version.Refuse(&asked, codeOf(p.Err.Code), p.Err.Reason)
	case len(p.Payload) > c.door.Config.MaxPayload:
		return wire.Error{Code: service.TooLarge, Reason: "the answer is larger than gateway.max_payload"}
	case ok:
		answer.Payload = object
	case len(p.Payload) > 0:
		return wire.Error{Code: service.InvalidAnswer, Reason: "the answer is not a JSON object"}
	}
	c.publish(down, u.open.action, c.send(&answer))
	u.last.id, u.last.action = u.open.id, u.open.action
	u.open = ask{}
	if len(u.waiting) > 0 {
		c.device.Do(c.beginNext) // not here: the session is in the middle of this answer
	}
	return refused
}

// codeOf returns the code of a CALLERROR for that of a refusal: of the gateway, or of a service, which may name one of OCPP. docs/ocpp.md
// has the table.
func codeOf(refusal string) ocpp.Code {
	switch refusal {
	case service.UnknownMethod:
		return ocpp.NotImplemented
	case service.NotAllowed:
		return ocpp.SecurityError
	case service.UnknownService, service.Unavailable, service.Busy, service.Timeout, service.TooLarge, service.InvalidAnswer:
		return ocpp.InternalError
	}
	code, _ := ocpp.ParseCode(refusal)
	return code
}

// endUplink forgets what the charger has asked: the session lets go of what the service has.
func (c *charger) endUplink() {
	c.owe(-c.up.bytes)
	c.up = uplink{}
}
