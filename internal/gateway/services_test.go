package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire/mqtt"
)

// scripted are services whose answers a test writes.
type scripted chan *scriptedCall

// scriptedCall is a call that such a service got.
type scriptedCall struct {
	*service.Call
	service   string
	timeout   time.Duration
	done      func(*service.Reply)
	cancelled chan struct{}
}

func newScripted() scripted { return make(scripted, 100) }

// Begin implements session.Services.
func (s scripted) Begin(name string, c *service.Call, timeout time.Duration, done func(*service.Reply)) (cancel func()) {
	if name == "nobody" {
		done(&service.Reply{Err: service.Refusal{Code: service.UnknownService, Reason: "no service has this name"}})
		return func() {}
	}
	call := &scriptedCall{c, name, timeout, done, make(chan struct{})}
	s <- call
	return func() { close(call.cancelled); call.refuse(service.Canceled, "") }
}

// next returns the next call.
func (s scripted) next(t testing.TB) *scriptedCall {
	t.Helper()
	select {
	case c := <-s:
		return c
	case <-time.After(patience):
		t.Fatal("no call came")
		return nil
	}
}

func (c *scriptedCall) answer(payload, contentType string) {
	c.done(&service.Reply{Payload: []byte(payload), ContentType: contentType})
}

func (c *scriptedCall) refuse(code, reason string) {
	c.done(&service.Reply{Err: service.Refusal{Code: code, Reason: reason}})
}

func (c *scriptedCall) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s/%s %s", c.Device, c.service, c.Method, c.Payload))
}

// service is what services do in a play.
func (p *play) service(verb, rest string) {
	switch verb {
	case "gets":
		p.asked = p.services.next(p.t)
		p.match(rest, p.asked.String())
	case "answers":
		p.asked.answer(rest, "application/json; charset=utf-8")
	case "refuses":
		code, reason, _ := strings.Cut(rest, ": ")
		p.asked.refuse(code, reason)
	case "lets":
		select {
		case <-p.asked.cancelled:
		case <-time.After(patience):
			p.t.Fatal("the call is not cancelled")
		}
	default:
		p.t.Fatalf("unknown step: service %s", verb)
	}
}

// asking is the PUBLISH of a call in the words of the version; number is its packet identifier too, if it has one.
func (p *mqttPeer) asking(to, payload string, q message.QoS, number uint16) *mqtt.Packet {
	call := saying("device/cp/service/"+to+"="+payload, q, 0)
	if p.version == mqtt.V5 {
		call.Properties.ResponseTopic = "device/cp/answers"
		call.Properties.CorrelationData = fmt.Append(nil, "n", number)
		call.Properties.ContentType = "text/plain"
	} else {
		call.Topic += fmt.Sprint("/", number)
	}
	if q > 0 {
		call.ID = number
	}
	return call
}

// replied takes the reply to a call.
func (p *mqttPeer) replied(number uint16, code, payload string) {
	p.t.Helper()
	got := p.take(mqtt.Publish)
	want := "device/cp/answers"
	if p.version < mqtt.V5 {
		want = fmt.Sprint("device/cp/service-reply/", number)
		if code != "" {
			want, payload = want+"/error", code+": "+payload
		}
	} else {
		refused := ""
		for _, u := range got.Properties.User {
			if u.Key == "error" {
				refused = u.Value
			}
		}
		if refused != code || string(got.Properties.CorrelationData) != fmt.Sprint("n", number) {
			p.t.Errorf("code %q, correlation data %s, want %q and n%d", refused, got.Properties.CorrelationData, code, number)
		}
	}
	if show(got) != want+"="+payload+" qos 0" {
		p.t.Errorf("got %q, want %q with %q", show(got), want, payload)
	}
}

// A call of a service is a publication that nobody else gets, and so is its answer, in words of the version.
func TestMQTTServiceCall(t *testing.T) {
	services := newScripted()
	eachWay(t, ways[1:], settings{sessions: session.Config{Services: services, ServiceCalls: 2}}, func(w *mqttWorld) {
		inbox := w.subscribe("device/#")
		p := w.client("cp")
		p.hear(0, "device/cp/answers", "device/cp/service-reply/#")
		for q := range message.QoS(3) {
			p.say(p.asking("billing/authorize", "card", q, 5))
			p.confirmed(q, 5)
			c := services.next(t)
			if c.String() != "cp billing/authorize card" {
				t.Errorf("%v", c)
			}
			c.answer("accepted", "text/plain")
			p.replied(5, "", "accepted")
		}
		p.say(p.asking("billing/authorize", "", 0, 6))
		services.next(t).refuse("no_funds", "the card is empty")
		p.replied(6, "no_funds", "the card is empty")
		p.say(p.asking("nobody/x", "", 0, 7))
		p.replied(7, "unknown_service", "no service has this name")
		for n := range uint16(3) {
			p.say(p.asking("grid/x", "", 0, 10+n))
		}
		p.replied(12, "busy", "as many calls of the device are under way as sessions.service_calls allows")
		first, second := services.next(t), services.next(t)
		p.say(saying("device/cp/done=", 0, 0))
		if m := w.take(inbox, 1)[0]; m.Topic != "device/cp/done" {
			t.Errorf("a subscriber got the call: %s", m.Topic)
		}
		_ = p.conn.Close()
		for _, c := range []*scriptedCall{first, second} {
			select {
			case <-c.cancelled:
			case <-time.After(patience):
				t.Fatal("the connection has ended, and the call is not cancelled")
			}
		}
	})
}

// A call that is repeated is not begun again: on the same connection its answer comes once; on a later one the device learns that the
// answer may be lost. What only has the same packet identifier is another call.
func TestMQTTServiceCallRepeated(t *testing.T) {
	services := newScripted()
	eachWay(t, ways[1:], settings{sessions: session.Config{Services: services}}, func(w *mqttWorld) {
		p, _ := w.connectAs(keeping("cp"))
		p.hear(0, "device/cp/answers", "device/cp/service-reply/#")
		acks := map[message.QoS]mqtt.Type{1: mqtt.Puback, 2: mqtt.Pubrec}
		ask := func(payload string, q message.QoS, again bool) {
			call := p.asking("billing/pay", payload, q, uint16(q))
			call.Dup = again
			p.say(call)
			p.take(acks[q])
		}
		ask("one", 1, false)
		ask("one", 1, true)
		ask("two", 2, false)
		ask("two", 2, true)
		one, two := services.next(t), services.next(t)
		one.answer("paid", "")
		p.replied(1, "", "paid")
		ask("one", 1, true)
		w.handOver(p)
		p, _ = w.connectAs(keeping("cp"))
		const lost = "the call came on an earlier connection, which ended before you had the answer; it may have been done"
		ask("one", 1, true)
		p.replied(1, "lost", lost)
		ask("two", 2, true)
		p.replied(2, "lost", lost)
		select {
		case <-two.cancelled:
		case <-time.After(patience):
			t.Fatal("the connection has ended, and the call is not cancelled")
		}
		p.say(&mqtt.Packet{Type: mqtt.Pubrel, ID: 2})
		p.take(mqtt.Pubcomp)
		ask("two", 2, false)
		ask("other", 1, true)
		for _, want := range []string{"cp billing/pay two", "cp billing/pay other"} {
			if c := services.next(t); c.String() != want {
				t.Errorf("%v, want %s", c, want)
			}
		}
		if len(services) > 0 {
			t.Errorf("%v is called again", <-services)
		}
	})
}

// handOver ends the connection of a client, and waits until the gateway has noticed.
func (w *mqttWorld) handOver(p *mqttPeer) {
	w.t.Helper()
	_ = p.conn.Close()
	w.awaitPresence("cp", false)
}

// What cannot be answered is not called. MQTT 5 is told so if the publication has an answer.
func TestMQTTServiceCallRefused(t *testing.T) {
	services := newScripted()
	eachWay(t, ways[1:], settings{sessions: session.Config{Services: services}}, func(w *mqttWorld) {
		p := w.client("cp")
		refused := func(call *mqtt.Packet, code mqtt.Code) {
			t.Helper()
			call.QoS, call.ID = 1, 9
			p.say(call)
			if got := p.take(mqtt.Puback); p.version == mqtt.V5 && got.Reason != code {
				t.Errorf("%s: %s, want %v", call.Topic, show(got), code)
			}
			call.QoS, call.ID = 0, 0
			p.say(call)
		}
		refused(p.asking("billing/pay", "", 1, 1), mqtt.NotAuthorized) // not subscribed
		p.hear(0, "#")
		for _, to := range []string{"billing", "billing/a/b", "/pay", "billing/"} {
			refused(p.asking(to, "", 1, 1), mqtt.TopicNameInvalid)
		}
		if p.version == mqtt.V5 {
			foreign := p.asking("billing/pay", "", 1, 1)
			foreign.Properties.ResponseTopic = "device/other/answers"
			refused(foreign, mqtt.NotAuthorized)
		} else {
			for _, number := range []string{"x", "0", "01", "9007199254740992", "1/2"} {
				refused(saying("device/cp/service/billing/pay/"+number+"=", 1, 9), mqtt.TopicNameInvalid)
			}
		}
		p.quiet()
		if len(services) > 0 {
			t.Errorf("%v is called", <-services)
		}
		n := uint64(0)
		w.sessions.Calls().Each(func(_ string, ended uint64) { n += ended })
		if want := map[bool]uint64{true: 12, false: 20}[p.version == mqtt.V5]; n != want {
			t.Errorf("%d are counted, want %d", n, want)
		}
	})
}

// An answer that the client cannot take is a refusal.
func TestMQTTServiceAnswerTooLarge(t *testing.T) {
	services := newScripted()
	eachWay(t, fives, settings{sessions: session.Config{Services: services}}, func(w *mqttWorld) {
		connect := opening("cp")
		connect.Properties.MaximumPacket = 200
		p, _ := w.connectAs(connect)
		p.hear(0, "device/cp/#")
		p.say(p.asking("billing/list", "", 0, 1))
		services.next(t).answer(strings.Repeat("x", 200), "text/plain")
		p.replied(1, "too_large", "the answer is larger than the client's Maximum Packet Size")
	})
}

// While the node drains, its devices are told to call again on their next connections.
func TestDevicesAreToldOfADrain(t *testing.T) {
	services := newScripted()
	w := newWorld(t, settings{sessions: session.Config{Services: services}, gateway: Config{DrainRate: 1}})
	a, b := w.connect("/connect/a"), w.connect("/connect/b")
	a.next()
	b.next()
	w.gateway.door.Drain()
	for _, p := range []*peer{a, b} {
		p.say(`{"op":"call","id":1,"service":"s","method":"m"}`)
		if got := string(p.next()); !strings.Contains(got, `"code":"unavailable"`) {
			t.Error(got)
		}
	}
}
