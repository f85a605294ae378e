package gateway

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// way is a version of MQTT over a carrier.
type way struct {
	version mqtt.Version
	carrier string // "tcp" or "websocket"
}

func (y way) String() string { return fmt.Sprintf("%d over %s", y.version, y.carrier) }

// ways are all that a test of MQTT runs in; fives are those of MQTT 5.
var (
	ways  = []way{{mqtt.V3, "tcp"}, {mqtt.V4, "tcp"}, {mqtt.V4, "websocket"}, {mqtt.V5, "tcp"}, {mqtt.V5, "websocket"}}
	fives = ways[3:]
)

// eachWay runs a test in several ways, each in a world of its own.
func eachWay(t *testing.T, in []way, s settings, test func(w *mqttWorld)) {
	for _, y := range in {
		t.Run(y.String(), func(t *testing.T) {
			s.gateway.MQTT.Listen = "127.0.0.1:0"
			test(&mqttWorld{newWorld(t, s), y})
		})
	}
}

// mqttWorld is a world whose clients speak MQTT in one way.
type mqttWorld struct {
	*world
	way way
}

// mqttPeer is a client's end of an MQTT connection.
type mqttPeer struct {
	t       testing.TB
	version mqtt.Version
	conn    net.Conn
	packets chan *mqtt.Packet // what came; closed when the connection has ended
	end     error             // why; set before packets is closed
}

// dial opens a connection that says nothing yet.
func (w *mqttWorld) dial() *mqttPeer {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if w.way.carrier == "tcp" {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", w.gateway.MQTTAddr().String())
		if err != nil {
			w.t.Fatal(err)
		}
		return w.over(c)
	}
	ws, _, err := coder.Dial(ctx, "ws://"+w.gateway.Addr().String()+"/mqtt", &coder.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		w.t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	return w.over(coder.NetConn(context.Background(), ws, coder.MessageBinary))
}

// over makes a peer of a connection, for the rest of the test.
func (w *mqttWorld) over(c net.Conn) *mqttPeer {
	p := &mqttPeer{t: w.t, version: w.way.version, conn: c, packets: make(chan *mqtt.Packet, 1024)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.read()
	}()
	w.t.Cleanup(func() {
		_ = p.conn.Close()
		for range p.packets { // what nobody wanted any more
		}
		<-ended
	})
	return p
}

// read runs until the connection ends.
func (p *mqttPeer) read() {
	defer close(p.packets)
	decoder := mqtt.Decoder{Version: p.version}
	var b []byte
	room := make([]byte, 4<<10)
	for {
		n, err := p.conn.Read(room)
		b = append(b, room[:n]...)
		for err == nil {
			packet, size := new(mqtt.Packet), 0
			if size, err = decoder.Decode(packet, b); size == 0 {
				break
			}
			p.packets <- packet // a view of b, which is not used again
			b = append([]byte(nil), b[size:]...)
		}
		if err != nil {
			p.end = err
			return
		}
	}
}

// say sends packets in one write.
func (p *mqttPeer) say(packets ...*mqtt.Packet) {
	p.t.Helper()
	var b []byte
	for _, packet := range packets {
		var err error
		if b, err = mqtt.Append(b, p.version, packet); err != nil {
			p.t.Fatal(err)
		}
	}
	p.write(b)
}

func (p *mqttPeer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// take returns the next packet, which must be of this type.
func (p *mqttPeer) take(want mqtt.Type) *mqtt.Packet {
	p.t.Helper()
	select {
	case packet, ok := <-p.packets:
		if !ok {
			p.t.Fatalf("the connection has ended, wanted %v: %v", want, p.end)
		}
		if packet.Type != want {
			p.t.Fatalf("%v %s, wanted %v", packet.Type, show(packet), want)
		}
		return packet
	case <-time.After(patience):
		p.t.Fatalf("nothing came, wanted %v", want)
		return nil
	}
}

// expect takes PUBLISH packets, as show writes them.
func (p *mqttPeer) expect(want ...string) {
	p.t.Helper()
	for _, want := range want {
		if got := show(p.take(mqtt.Publish)); got != want {
			p.t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// show writes what matters of a PUBLISH, and the reason of others.
func show(p *mqtt.Packet) string {
	if p.Type != mqtt.Publish {
		return fmt.Sprintf("%v %s", p.Reason, p.Properties.ReasonString)
	}
	s := fmt.Sprintf("%s=%s qos %d", p.Topic, p.Payload, p.QoS)
	if p.Dup {
		s += " dup"
	}
	if p.Retain {
		s += " retain"
	}
	if ids := p.Properties.SubscriptionIDs; len(ids) > 0 {
		s += fmt.Sprint(" for ", ids)
	}
	return s
}

// quiet fails when a packet has come that nobody expected.
func (p *mqttPeer) quiet() {
	p.t.Helper()
	for range 2 { // the first may be answered before what was posted to the loop
		p.say(&mqtt.Packet{Type: mqtt.Pingreq})
		p.take(mqtt.Pingresp)
	}
}

// ended waits for the end of the connection, and returns the DISCONNECT before it, or nil.
func (p *mqttPeer) ended() (last *mqtt.Packet) {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case packet, ok := <-p.packets:
			if !ok {
				return last
			}
			if last = packet; packet.Type != mqtt.Disconnect {
				p.t.Fatalf("%v, wanted the end", packet.Type)
			}
		case <-timeout:
			p.t.Fatal("the connection did not end")
		}
	}
}

// endedWith checks how the gateway ended the connection: MQTT 5 says why, 3.1.1 does not.
func (p *mqttPeer) endedWith(want mqtt.Code) {
	p.t.Helper()
	last := p.ended()
	switch {
	case p.version < mqtt.V5 && last != nil:
		p.t.Errorf("%v in 3.1.1", last.Type)
	case p.version == mqtt.V5 && (last == nil || last.Reason != want):
		p.t.Errorf("ended with %v, want %v", last, want)
	}
}

// opening is a CONNECT of a client that keeps no session.
func opening(device string) *mqtt.Packet {
	p := &mqtt.Packet{Type: mqtt.Connect}
	p.Connect.ClientID, p.Connect.Clean, p.Connect.KeepAlive = device, true, 30
	return p
}

// keeping is a CONNECT of a client that keeps its session.
func keeping(device string) *mqtt.Packet {
	p := opening(device)
	p.Connect.Clean, p.Properties.SessionExpiry = false, 60
	return p
}

// connectAs connects and returns the CONNACK.
func (w *mqttWorld) connectAs(connect *mqtt.Packet) (*mqttPeer, *mqtt.Packet) {
	w.t.Helper()
	p := w.dial()
	p.say(connect)
	return p, p.take(mqtt.Connack)
}

// client connects a client that keeps no session.
func (w *mqttWorld) client(device string) *mqttPeer {
	w.t.Helper()
	p, answer := w.connectAs(opening(device))
	if answer.Reason != mqtt.Success || answer.SessionPresent {
		w.t.Fatalf("CONNACK %s, session present %v", show(answer), answer.SessionPresent)
	}
	return p
}

// subscribe subscribes and returns the codes of the answer.
func (p *mqttPeer) subscribe(subs ...mqtt.Subscription) []mqtt.Code {
	p.t.Helper()
	p.say(&mqtt.Packet{Type: mqtt.Subscribe, ID: 9, Subscriptions: subs})
	answer := p.take(mqtt.Suback)
	if answer.ID != 9 {
		p.t.Errorf("SUBACK of %d", answer.ID)
	}
	return answer.Codes
}

// hear subscribes to filters with a QoS, which must be granted.
func (p *mqttPeer) hear(q message.QoS, filters ...string) {
	p.t.Helper()
	for _, filter := range filters {
		if codes := p.subscribe(mqtt.Subscription{Filter: filter, QoS: q}); len(codes) != 1 || codes[0] != mqtt.Code(q) {
			p.t.Fatalf("%s: granted %v", filter, codes)
		}
	}
}

// publication of "topic=payload".
func saying(text string, q message.QoS, id uint16) *mqtt.Packet {
	topic, payload, _ := strings.Cut(text, "=")
	return &mqtt.Packet{Type: mqtt.Publish, Topic: topic, Payload: []byte(payload), QoS: q, ID: id}
}

// publish sends a publication and takes the answers, as the QoS wants them.
func (p *mqttPeer) publish(text string, q message.QoS) {
	p.t.Helper()
	const id = 77
	packet := saying(text, q, 0)
	if q > 0 {
		packet.ID = id
	}
	p.say(packet)
	p.confirmed(q, id)
}

// confirmed takes the answers to a publication.
func (p *mqttPeer) confirmed(q message.QoS, id uint16) {
	p.t.Helper()
	var answers []*mqtt.Packet
	switch q {
	case 1:
		answers = append(answers, p.take(mqtt.Puback))
	case 2:
		answers = append(answers, p.take(mqtt.Pubrec))
		p.say(&mqtt.Packet{Type: mqtt.Pubrel, ID: id})
		answers = append(answers, p.take(mqtt.Pubcomp))
	}
	for _, a := range answers {
		if a.ID != id || a.Reason != mqtt.Success {
			p.t.Fatalf("%v of %d: %s", a.Type, a.ID, show(a))
		}
	}
}

// receive takes a publication, which must be as show writes it, and answers as its QoS wants.
func (p *mqttPeer) receive(want string) {
	p.t.Helper()
	got := p.take(mqtt.Publish)
	if show(got) != want {
		p.t.Fatalf("got %q, want %q", show(got), want)
	}
	switch got.QoS {
	case 1:
		p.say(&mqtt.Packet{Type: mqtt.Puback, ID: got.ID})
	case 2:
		p.say(&mqtt.Packet{Type: mqtt.Pubrec, ID: got.ID})
		if release := p.take(mqtt.Pubrel); release.ID != got.ID || release.Reason != mqtt.Success {
			p.t.Fatalf("PUBREL of %d: %s", release.ID, show(release))
		}
		p.say(&mqtt.Packet{Type: mqtt.Pubcomp, ID: got.ID})
	}
}

// stream opens a TCP connection for bytes that no client would send.
func (w *mqttWorld) stream() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.gateway.MQTTAddr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return c
}
