package ocpp

import (
	"errors"
	"strings"
	"time"

	"github.com/longline/longline/internal/gateway/ws"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/ocpp"
)

// charger is one connection of a charger. It implements ws.Talk, and is owned by the loop.
type charger struct {
	*dialect // static
	device   *ws.Device

	up   uplink   // what the charger asks
	down downlink // what it is asked
}

// Receive implements ws.Talk. A message that is no frame does not end the connection: chargers come back at once and send it again.
func (c *charger) Receive(text []byte, isText bool) error {
	if !isText {
		return wire.CloseKind.Because(c.Subprotocol() + " uses text frames")
	}
	var f ocpp.Frame
	if err := c.version.Decode(&f, text); err != nil {
		c.count(wire.Pub)
		return c.refuse(&f, err)
	}
	switch f.Type {
	case ocpp.Call:
		c.count(wire.Call)
		return c.asks(&f, text)
	case ocpp.Send:
		c.count(wire.Pub)
		c.tells(&f, text)
	case ocpp.CallResult, ocpp.CallError:
		c.count(wire.Reply)
		return c.answers(&f, text)
	case ocpp.CallResultError:
		c.count(wire.Reply)
		c.refusesResult(&f, text)
	}
	return nil
}

// count counts a frame, by the operation that is most like it. What a charger asks or tells may cost as much as a publication.
func (c *charger) count(as wire.Op) {
	s := c.device.Shard()
	s.Packets[as]++
	s.CountPacket(as != wire.Reply, 0)
}

// refuse answers a message that is no frame, if the version answers those. If it was to be the answer to a CALL, that has failed.
func (c *charger) refuse(f *ocpp.Frame, err error) error {
	var why *ocpp.Error
	if !errors.As(err, &why) {
		return err // Decode has no other errors
	}
	c.fault(notAFrame, why.Reason)
	if c.version.Answerable(f, why) {
		r := c.version.Refuse(f, why.Code, why.Reason)
		c.send(&r)
	}
	if f.Type == ocpp.CallResult {
		return c.answered(f, &wire.Packet{Err: wire.Error{Code: service.InvalidAnswer, Reason: why.Reason}}, nil)
	}
	return nil
}

// tells publishes a SEND, which has no answer.
func (c *charger) tells(f *ocpp.Frame, text []byte) {
	if !isAction(f.Action) {
		c.fault(badAction, "SEND of an action that is no word")
		return
	}
	c.publish(up, f.Action, text)
}

// refusesResult publishes that the charger can do nothing with the last answer that it got.
func (c *charger) refusesResult(f *ocpp.Frame, text []byte) {
	c.fault(resultRefused, cut(f.Code+": "+f.Description, ocpp.MaxDescription))
	if last := &c.up.last; last.action != "" && last.id == f.ID {
		c.publish(up, last.action, text)
	}
}

// fault counts what the charger has done wrong, and logs it.
func (c *charger) fault(what, reason string) {
	c.device.Shard().CountFault(c.device.Link(), what, reason)
}

// send writes a frame, and returns its bytes, which are borrowed until the next one.
func (c *charger) send(f *ocpp.Frame) (text []byte) {
	text = f.Append(c.device.Scratch())
	c.device.Write(text)
	return text
}

// The last but one levels of the topics on which frames are published.
const (
	up   = "up"
	down = "down"
)

// publish publishes a frame, which is borrowed, on device/{id}/ocpp/{up|down}/{action}, if somebody listens. action is a word.
func (c *charger) publish(way, action string, text []byte) {
	l := c.device.Link()
	device := l.Session().Device()
	topic := "device/" + device + "/ocpp/" + way + "/" + action
	router := c.door.Router
	if !router.Wanted(topic) {
		return
	}
	m := message.Message{
		Topic:       topic,
		Payload:     text,
		ContentType: message.JSON,
		Time:        time.Now().UnixMilli(),
		Origin:      message.Origin{Via: message.ViaGateway},
	}
	if way == up {
		m.Source, m.Debtor = device, c.debtor()
	}
	_, _ = router.Publish(&m, nil) // QoS 0: nobody waits for the result, and the router counts what is dropped
}

// debtor returns who owes what the charger has sent.
func (c *charger) debtor() message.Debtor {
	l := c.device.Link()
	credential := uint64(0)
	if p := l.Permissions(); p != nil {
		credential = p.Credential()
	}
	return message.DebtorOf(l.Session().Device(), credential)
}

// End implements ws.Talk.
func (c *charger) End() {
	c.endUplink()
	c.endDownlink()
}

// cut returns s as valid UTF-8, and of at most n bytes, a copy.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
