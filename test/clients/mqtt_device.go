package clients

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
	"github.com/longline/longline/test/account"
)

// mqttDevice is a client of MQTT 3.1.1 or 5, with a session that outlives its connections. It does what the standards demand of a client: it
// sends again what is not acknowledged, under the same identifiers and in order, when its session is resumed, and takes a QoS 2 message once
// by its identifier. One goroutine owns it.
type mqttDevice struct {
	// Static after construction.
	*Fleet
	name    string
	version mqtt.Version
	random  *rand.Rand
	topics  []*account.Topic // on which it publishes
	will    *account.Topic   // nil: none
	filters []filter         // to which it subscribes at first

	// The session, on the client's side.
	out      []*outgoing // not acknowledged, in the order in which they were sent
	lastID   uint16
	received map[uint16]bool   // QoS 2 messages that the gateway has not released
	requests []*request        // SUBSCRIBE and UNSUBSCRIBE, one at a time
	roaming  *account.Interest // the subscription that comes and goes; nil while there is none
	orderIDs map[uint64]int    // of commands that it has answered
	begun    bool              // the gateway has acknowledged something in this session

	// The connection.
	conn    *MQTTConn
	stale   *MQTTConn     // the one before, which the device has not closed
	replies []dueReply    // to commands; lost with the connection, so that these come again
	began   time.Duration // when it began
	number  int           // of the connection's will
	away    time.Duration // how long the device stays away after its end
	safe    bool          // something was acknowledged on it that has to be on disk
}

// outgoing is a message that the device has sent, and that is not acknowledged.
type outgoing struct {
	topic    *account.Topic
	number   int
	packet   mqtt.Packet
	released bool // PUBREC has come
	again    bool // it was sent on an earlier connection
}

// dueReply is the answer to a command that takes until then.
type dueReply struct {
	at     time.Duration
	packet mqtt.Packet
}

// request is a SUBSCRIBE or an UNSUBSCRIBE.
type request struct {
	filter filter
	end    bool
	about  *account.Interest
	id     uint16 // 0 while it is not sent on this connection
}

// run runs the device until ctx ends.
func (d *mqttDevice) run(ctx context.Context) {
	d.received, d.orderIDs = make(map[uint16]bool), make(map[uint64]int)
	for _, f := range d.filters {
		d.requests = append(d.requests, &request{filter: f})
	}
	for ctx.Err() == nil {
		if err := d.connect(ctx); err != nil {
			if d.Superseded == nil {
				d.dropStale()
			}
			d.Pause(ctx, d.between(d.Retry/10, d.Retry))
			continue
		}
		d.away = 0
		err := d.serve(ctx)
		d.end(err)
		if !errors.Is(err, errOwn) {
			d.away = d.between(20*time.Millisecond, 500*time.Millisecond)
		}
		d.Pause(ctx, d.away)
	}
	d.dropStale()
}

func (d *mqttDevice) between(from, to time.Duration) time.Duration {
	return from + time.Duration(d.random.Int64N(int64(to-from)))
}

// connect connects, and sends what is not acknowledged again.
func (d *mqttDevice) connect(ctx context.Context) error {
	if err := d.Gateways.Wait(ctx); err != nil {
		return err
	}
	conn, err := d.Gateways.Dial(ctx, d.name, func(a Addresses) string { return a.MQTT })
	if err != nil {
		return err
	}
	c := NewMQTTConn(conn, d.version)
	connack, err := d.greet(ctx, c)
	if err != nil {
		c.Close(false)
		return err
	}
	d.conn, d.began, d.safe, d.replies = c, d.Book.Now(), false, nil
	d.Book.Event(d.name, fmt.Sprintf("connected, session present: %v", connack.SessionPresent))
	if d.stale != nil && d.Superseded != nil {
		d.stale.Supersede(d.Superseded, d.name)
		d.stale = nil
	}
	d.dropStale()
	if !connack.SessionPresent {
		d.forget()
	}
	for _, p := range connack.Properties.User {
		if p.Key == "missed" {
			d.Book.Fault(d.name + " was told that it missed " + p.Value + " messages")
		}
	}
	for _, r := range d.requests {
		r.id = 0
	}
	return d.resume()
}

// greet sends CONNECT and waits for a CONNACK that accepts.
func (d *mqttDevice) greet(ctx context.Context, c *MQTTConn) (*mqtt.Packet, error) {
	p := &mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Version: d.version, ClientID: d.name, KeepAlive: 60}}
	p.Properties.SessionExpiry = 3600
	if d.will != nil {
		d.number = d.Book.Send(d.will, false)
		p.Connect.HasWill = true
		p.Connect.Will = mqtt.Will{Topic: d.will.Name, Payload: payload(d.number, 0), QoS: message.QoS(d.will.QoS)}
	}
	if err := c.Send(p); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.ConnectTimeout)
	defer cancel()
	answer, err := c.Next(ctx)
	switch {
	case err != nil:
		return nil, err
	case answer.Type != mqtt.Connack:
		return nil, fmt.Errorf("%v instead of CONNACK", answer.Type)
	case answer.Reason != mqtt.Success:
		d.Book.Event(d.name, "refused: "+answer.Reason.String())
		return nil, errors.New("refused")
	}
	return answer, nil
}

// Next waits for the next packet.
func (c *MQTTConn) Next(ctx context.Context) (*mqtt.Packet, error) {
	select {
	case p, ok := <-c.Packets:
		if !ok {
			return nil, c.Err
		}
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(ioTimeout):
		return nil, errors.New("no packet came in time")
	}
}

// forget begins a new session, because the gateway has none. It has to have one if it acknowledged something in it.
func (d *mqttDevice) forget() {
	if d.begun {
		d.Book.Fault(d.name + ": its session is gone")
	}
	d.begun, d.received = false, make(map[uint16]bool)
	for _, o := range d.out {
		o.released = false
	}
}

// resume sends again what is not acknowledged, in order [MQTT-4.4.0-1].
func (d *mqttDevice) resume() error {
	for _, o := range d.out {
		o.again = true
		p := o.packet
		if o.released {
			p = mqtt.Packet{Type: mqtt.Pubrel, ID: o.packet.ID}
		} else {
			p.Dup = d.begun
			d.Book.Again(o.topic, o.number)
		}
		if err := d.conn.Send(&p); err != nil {
			d.end(err)
			return err
		}
	}
	return nil
}

// end notes the end of a connection. The gateway publishes its will if the connection did not end by DISCONNECT.
func (d *mqttDevice) end(err error) {
	d.Book.Event(d.name, fmt.Sprintf("connection over: %v", err))
	if d.will != nil && d.Wills && d.safe && !errors.Is(err, errLeft) {
		d.Book.Answer(d.will, d.number, false)
	}
	if d.version == mqtt.V5 { // in 3.1.1 the gateway takes nothing behind a message that it refuses
		d.Book.CutOff(d.name, d.began)
	}
	if errors.Is(err, errTaken) {
		d.stale = d.conn
	} else {
		d.conn.Close(errors.Is(err, errReset))
	}
	d.conn = nil
}

// dropStale closes the connection that another one has taken the place of.
func (d *mqttDevice) dropStale() {
	if d.stale != nil {
		d.stale.Close(true)
		d.stale = nil
	}
}

// How a device ends its connection itself.
var (
	errOwn   = errors.New("the device")
	errReset = fmt.Errorf("%w cut it", errOwn)
	errShut  = fmt.Errorf("%w closed it without DISCONNECT", errOwn)
	errTaken = fmt.Errorf("%w connects again without closing it", errOwn)
	errLeft  = fmt.Errorf("%w left by DISCONNECT", errOwn)
)

// serve uses the connection until it ends, and returns why.
func (d *mqttDevice) serve(ctx context.Context) error {
	life := time.NewTimer(d.Life(d.random))
	defer life.Stop()
	tick := time.NewTicker(d.Pace)
	defer tick.Stop()
	for {
		if err := d.request(); err != nil {
			return err
		}
		select {
		case p, ok := <-d.conn.Packets:
			if !ok {
				return d.conn.Err
			}
			if err := d.handle(p); err != nil {
				return err
			}
		case <-tick.C:
			if err := errors.Join(d.reply(), d.publish()); err != nil {
				return err
			}
		case <-life.C:
			if d.Calm.Load() || d.Steady.Load() {
				break
			}
			return d.leave()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave ends the connection in one of the ways in which devices do. The device may stay away for a while.
func (d *mqttDevice) leave() error {
	d.Cuts.Add(1)
	if d.Superseded != nil && d.random.IntN(2) == 0 {
		return errTaken
	}
	switch d.random.IntN(8) {
	case 0:
		return errTaken
	case 1:
		return errShut
	case 2:
		d.away = d.absence(d.random)
		return errReset
	case 3:
		if err := d.conn.Send(&mqtt.Packet{Type: mqtt.Disconnect}); err != nil {
			return errReset
		}
		d.away = d.absence(d.random)
		return errLeft
	default:
		return errReset
	}
}

// publish sends the next message, unless too many are not acknowledged.
func (d *mqttDevice) publish() error {
	if d.Calm.Load() || len(d.out) >= window || len(d.topics) == 0 {
		return nil
	}
	t := d.topics[d.random.IntN(len(d.topics))]
	empty := t.Retained && d.random.IntN(8) == 0
	o := &outgoing{topic: t, number: d.Book.Send(t, empty)}
	o.packet = mqtt.Packet{Type: mqtt.Publish, ID: d.unused(), Topic: t.Name, QoS: message.QoS(t.QoS), Retain: t.Retained}
	if !empty {
		o.packet.Payload = payload(o.number, d.padding(d.random))
	}
	d.out = append(d.out, o)
	return d.conn.Send(&o.packet)
}

// unused returns the next identifier that no message has.
func (d *mqttDevice) unused() uint16 {
	for {
		if d.lastID++; d.lastID != 0 && d.find(d.lastID) < 0 {
			return d.lastID
		}
	}
}

func (d *mqttDevice) find(id uint16) int {
	for i, o := range d.out {
		if o.packet.ID == id {
			return i
		}
	}
	return -1
}

// request sends the next SUBSCRIBE or UNSUBSCRIBE. When there is none, the roaming subscription comes or goes now and then.
func (d *mqttDevice) request() error {
	if len(d.requests) == 0 {
		return nil
	}
	r := d.requests[0]
	if r.id != 0 {
		return nil
	}
	r.id = d.unused()
	p := &mqtt.Packet{Type: mqtt.Subscribe, ID: r.id, Subscriptions: []mqtt.Subscription{{Filter: r.filter.text, QoS: message.QoS(r.filter.receiver.QoS)}}}
	if r.end {
		d.Book.Note(&r.about.Ending)
		p = &mqtt.Packet{Type: mqtt.Unsubscribe, ID: r.id, Filters: []string{r.filter.text}}
	} else if r.about == nil {
		r.about = d.Book.Subscribing(r.filter.receiver, r.filter.match)
	}
	return d.conn.Send(p)
}

// roam asks for the subscription that comes and goes, or ends it.
func (d *mqttDevice) roam() {
	if len(d.requests) > 0 || d.Calm.Load() || d.Steady.Load() || d.random.IntN(100) > 0 {
		return
	}
	if d.roaming != nil {
		f := filter{text: d.roaming.Filter, match: d.roaming.Filter, receiver: d.filters[0].receiver}
		d.requests = append(d.requests, &request{filter: f, end: true, about: d.roaming})
		d.roaming = nil
		return
	}
	other := d.elsewhere(d.random, d.filters)
	f := filter{text: other, match: other, receiver: d.filters[0].receiver}
	d.roaming = d.Book.Subscribing(f.receiver, other)
	d.requests = append(d.requests, &request{filter: f, about: d.roaming})
}

// handle handles a packet of the gateway.
func (d *mqttDevice) handle(p *mqtt.Packet) error {
	switch p.Type {
	case mqtt.Publish:
		return d.take(p)
	case mqtt.Pubrel:
		delete(d.received, p.ID)
		return d.conn.Send(&mqtt.Packet{Type: mqtt.Pubcomp, ID: p.ID})
	case mqtt.Puback, mqtt.Pubrec, mqtt.Pubcomp:
		return d.answered(p)
	case mqtt.Suback, mqtt.Unsuback:
		d.granted(p)
		d.roam()
	case mqtt.Disconnect:
		return fmt.Errorf("the gateway disconnects: %v %s", p.Reason, p.Properties.ReasonString)
	}
	return nil
}

// take takes a message and acknowledges it.
func (d *mqttDevice) take(p *mqtt.Packet) error {
	switch p.QoS {
	case message.AtLeastOnce:
		d.arrived(d.name, p.Topic, p.Payload)
		d.roam()
		return d.conn.Send(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID})
	case message.ExactlyOnce:
		if d.received[p.ID] { // [MQTT-4.3.3-10]; the gateway that sends it again counts the PUBREC of this life
			d.Book.Acknowledged()
			d.Book.Event(d.name, fmt.Sprintf("takes no second message with identifier %d: %s %.10q, DUP %v", p.ID, p.Topic, p.Payload, p.Dup))
		} else {
			d.received[p.ID] = true
			d.arrived(d.name, p.Topic, p.Payload)
		}
		return d.conn.Send(&mqtt.Packet{Type: mqtt.Pubrec, ID: p.ID})
	default:
		return d.do(p)
	}
}

// do does a command, which comes with QoS 0 on device/ID/call/METHOD; in 3.1.1 with /NUMBER, and with /again behind that if it came before.
func (d *mqttDevice) do(p *mqtt.Packet) error {
	levels := strings.Split(p.Topic, "/")
	if d.Orders == nil || len(levels) < 4 || levels[0] != "device" || levels[2] != "call" {
		d.Book.Fault(d.name + " got a message of QoS 0 on " + p.Topic)
		return nil
	}
	text := string(p.Properties.CorrelationData)
	if d.version != mqtt.V5 && len(levels) > 4 {
		text = levels[4]
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		d.Book.Fault(d.name + " got a call without a number on " + p.Topic)
		return nil
	}
	number, refused, err := d.getCommand(d.name, id, p.Payload, d.orderIDs)
	if err != nil {
		d.Book.Fault(err.Error())
		return nil
	}
	reply := mqtt.Packet{Type: mqtt.Publish, Topic: "device/" + d.name + "/reply", Payload: []byte(answerTo(number))}
	if d.version == mqtt.V5 {
		reply.Topic, reply.Properties.CorrelationData = p.Properties.ResponseTopic, p.Properties.CorrelationData
		if refused {
			reply.Properties.User = []message.Property{{Key: "error", Value: "no"}}
		}
	} else {
		reply.Topic += "/" + text
		if refused {
			reply.Topic += "/error"
		}
	}
	d.replies = append(d.replies, dueReply{d.Book.Now() + working(number), reply})
	return nil
}

// reply sends the answers to commands that are done by now.
func (d *mqttDevice) reply() error {
	for i := 0; i < len(d.replies); i++ {
		if r := d.replies[i]; r.at <= d.Book.Now() {
			d.replies = slices.Delete(d.replies, i, i+1)
			return d.conn.Send(&r.packet) // the others later
		}
	}
	return nil
}

// answered handles the answer to a publication.
func (d *mqttDevice) answered(p *mqtt.Packet) error {
	i := d.find(p.ID)
	if i < 0 {
		return nil
	}
	o := d.out[i]
	if p.Type == mqtt.Pubcomp {
		d.keep(i)
		return nil
	}
	if !o.released {
		d.Book.Answer(o.topic, o.number, p.Reason.Failed())
	}
	if !p.Reason.Failed() {
		d.begun = true
		d.safe = d.safe || p.Type == mqtt.Puback || !o.again // a PUBREC that comes again waits for no sync, and says nothing of this connection's will
	}
	if p.Type == mqtt.Pubrec && !p.Reason.Failed() {
		o.released = true
		return d.conn.Send(&mqtt.Packet{Type: mqtt.Pubrel, ID: p.ID})
	}
	d.out = append(d.out[:i], d.out[i+1:]...)
	return nil
}

// keep removes a message that is completed.
func (d *mqttDevice) keep(i int) {
	d.begun, d.safe = true, true
	d.out = append(d.out[:i], d.out[i+1:]...)
}

// granted handles the answer to a SUBSCRIBE or an UNSUBSCRIBE.
func (d *mqttDevice) granted(p *mqtt.Packet) {
	if len(d.requests) == 0 || d.requests[0].id != p.ID {
		return
	}
	r := d.requests[0]
	if len(p.Codes) > 0 && p.Codes[0].Failed() {
		d.Book.Event(d.name, r.filter.text+" was refused: "+p.Codes[0].String())
		r.id = 0 // again
		return
	}
	d.begun, d.safe = true, true
	d.requests = d.requests[1:]
	if r.end {
		d.Book.Note(&r.about.To)
		d.Book.Event(d.name, "unsubscribed "+r.filter.text)
		return
	}
	d.Book.Note(&r.about.From)
	d.Book.Event(d.name, "subscribed "+r.filter.text)
}

// payload returns the payload of a message: its number and padding, which is no JSON.
func payload(number, padding int) []byte {
	return fmt.Appendf(nil, "%d x%s", number, strings.Repeat("x", padding))
}
