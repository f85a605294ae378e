package interop

import (
	"context"
	"crypto/rand"
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"
)

// clients are popular MQTT clients, by name.
var clients = map[string]struct {
	client
	ws   bool // over WebSocket, not TCP
	five bool // MQTT 5, not 3.1.1
}{
	"mosquitto-3.1.1": {mosquitto(mqtt311), false, false},
	"mosquitto-5":     {mosquitto(mqtt5), false, true},
	"npm-3.1.1":       {nodeMQTT(4), true, false},
	"npm-5":           {nodeMQTT(5), true, true},
	"paho-5":          {pahoClient{}, false, true},
}

// scene is the environment of a scenario.
type scene struct {
	t    *testing.T
	ctx  context.Context
	name string // unique to this run: devices and topics begin with it
	addr string // of the broker, host:port
	client
}

// TestMQTT has each client play the same scenarios, all at the same time.
func TestMQTT(t *testing.T) {
	scenarios := map[string]func(*scene){
		"qos":      qos,
		"retained": retained,
		"will":     will,
		"offline":  offline,
		"cut":      cut,
		"shared":   shared,
	}
	for name, c := range clients {
		addr := broker.tcp
		if c.ws {
			addr = broker.ws
		}
		for title, play := range scenarios {
			t.Run(title+"/"+name, func(t *testing.T) { t.Parallel(); play(newScene(t, addr, c.client)) })
		}
		if c.five {
			t.Run("request/"+name, func(t *testing.T) { t.Parallel(); request(newScene(t, addr, c.client)) })
		}
	}
}

func newScene(t *testing.T, addr string, c client) *scene {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &scene{t, ctx, "t" + rand.Text(), addr, c} // with -count, several runs share the gateway
}

// session returns a device that connects to the broker directly, with a session that ends with its connection.
func (s *scene) session(device string) session {
	return session{addr: s.addr, id: s.name + "-" + device}
}

func (s *scene) topic(level string) string { return s.name + "/" + level }

// listen subscribes a device to a topic.
func (s *scene) listen(device, topic string, qos int) *subscriber {
	s.t.Helper()
	return s.subscribe(s.ctx, s.t, subscription{s.session(device), topic, qos})
}

// say publishes payloads with the topic, QoS and properties of m.
func (s *scene) say(m message, payloads ...string) {
	s.t.Helper()
	s.publish(s.ctx, s.t, publication{s.session("publisher"), m, payloads})
}

// expect asserts the next messages.
func (s *scene) expect(from *subscriber, want message) {
	s.t.Helper()
	if got := receive(s.ctx, s.t, "message "+want.Payload, from.messages); !reflect.DeepEqual(got, want) {
		s.t.Errorf("got %+v, want %+v", got, want)
	}
}

// qos: a message arrives once, in order, with the lower QoS of its publication and its
// subscription.
func qos(s *scene) {
	topic := s.topic("reading")
	var subs [3]*subscriber
	for granted := range subs {
		subs[granted] = s.listen(fmt.Sprint("subscriber-", granted), topic, granted)
	}
	for published := range 3 {
		s.say(message{Topic: topic, QoS: published}, "first", "sécond", "third")
		for granted, sub := range subs {
			for _, payload := range []string{"first", "sécond", "third"} {
				s.expect(sub, message{Topic: topic, Payload: payload, QoS: min(granted, published)})
			}
		}
	}
}

// retained: a later subscriber gets the last one, with RETAIN; a current subscriber gets it
// without. An empty one removes it. MQTT 3.1.1 §3.3.1.3.
func retained(s *scene) {
	topic := s.topic("state")
	m := message{Topic: topic, QoS: 1, Retain: 1}
	s.say(m, "old", "new")
	early := s.listen("early", topic, 1)
	s.expect(early, message{Topic: topic, Payload: "new", QoS: 1, Retain: 1})
	s.say(m, "newer")
	s.expect(early, message{Topic: topic, Payload: "newer", QoS: 1})
	s.expect(s.listen("late", topic, 0), message{Topic: topic, Payload: "newer", Retain: 1})

	s.say(m, "")
	s.expect(early, message{Topic: topic, QoS: 1})
	last := s.listen("last", topic, 1)
	s.say(message{Topic: topic, QoS: 1}, "live")
	s.expect(last, message{Topic: topic, Payload: "live", QoS: 1})
}

// will: the broker publishes the will when the connection is cut, and not after a DISCONNECT.
// MQTT 3.1.1 §3.1.2.5.
func will(s *scene) {
	topic := s.topic("gone")
	watcher := s.listen("watcher", topic, 1)
	leavesWill := false
	for _, device := range []string{"polite", "lost"} {
		d := s.session(device)
		d.will = &message{Topic: topic, Payload: device, QoS: 1}
		p := newProxy(s.t, s.addr)
		d.addr = p.addr()
		sub := s.subscribe(s.ctx, s.t, subscription{d, s.topic("news"), 1})
		if device == "polite" {
			sub.leave()
			leavesWill = sub.leavesWill
		} else {
			p.cut()
		}
	}
	if leavesWill {
		s.expect(watcher, message{Topic: topic, Payload: "polite", QoS: 1})
	}
	s.expect(watcher, message{Topic: topic, Payload: "lost", QoS: 1})
}

// offline: a kept session has the messages that were published while its device was away.
func offline(s *scene) {
	topic := s.topic("command")
	d := s.session("device")
	d.keep = true
	s.subscribe(s.ctx, s.t, subscription{d, topic, 1}).leave()
	s.say(message{Topic: topic, QoS: 1}, "1", "2", "3")
	back := s.subscribe(s.ctx, s.t, subscription{d, topic, 1})
	for _, payload := range []string{"1", "2", "3"} {
		s.expect(back, message{Topic: topic, Payload: payload, QoS: 1})
	}
}

// cut: wherever connections break, no acknowledged message is lost, in either
// direction; with QoS 2 none arrives twice.
func cut(s *scene) {
	for qos := 1; qos <= 2; qos++ {
		topic := s.topic(fmt.Sprint("log-", qos))
		sub, pub := s.session(fmt.Sprint("sub-", qos)), s.session(fmt.Sprint("pub-", qos))
		sub.keep, pub.keep = true, true
		down, up := newProxy(s.t, s.addr), newProxy(s.t, s.addr)
		if s.resumes(qos) {
			down.breakAfter(1001, 2002)
			up.breakAfter(502, 1503, 2504)
		}
		sub.addr, pub.addr = down.addr(), up.addr()
		d := s.subscribe(s.ctx, s.t, subscription{sub, topic, qos})
		m := message{Topic: topic, QoS: qos}
		s.publish(s.ctx, s.t, publication{pub, m, numbers(0, 200)})
		s.account(d, qos, 0, 200)

		down.cut()
		s.say(m, numbers(200, 210)...)
		down.mend()
		s.account(d, qos, 200, 210)
	}
}

// account asserts that the numbers from first to below end arrive in order. With QoS 1 they and
// earlier ones may arrive again.
func (s *scene) account(from *subscriber, qos, first, end int) {
	s.t.Helper()
	for next := first; next < end; {
		m := receive(s.ctx, s.t, strconv.Itoa(next), from.messages)
		n, err := strconv.Atoi(m.Payload)
		switch {
		case err == nil && n == next:
			next++
		case err != nil || n > next || qos == 2:
			s.t.Fatalf("%+v came, want %d", m, next)
		}
	}
}

// numbers returns payloads from first to below end.
func numbers(first, end int) (payloads []string) {
	for n := first; n < end; n++ {
		payloads = append(payloads, strconv.Itoa(n))
	}
	return payloads
}

// shared: one member of a shared subscription gets each message, and the last member that stays gets
// all. MQTT 5 §4.8.2.
func shared(s *scene) {
	const all = 40
	topic := s.topic("job")
	m := message{Topic: topic, QoS: 1}
	a := s.listen("a", "$share/workers/"+topic, 1)
	b := s.listen("b", "$share/workers/"+topic, 1)
	s.say(m, numbers(0, all)...)
	count := map[*subscriber]int{}
	seen := make(map[string]bool)
	for range all {
		select {
		case got := <-a.messages:
			count[a]++
			seen[got.Payload] = true
		case got := <-b.messages:
			count[b]++
			seen[got.Payload] = true
		case <-s.ctx.Done():
			s.t.Fatalf("%d of %d came", count[a]+count[b], all)
		}
	}
	if len(seen) != all || count[a] == 0 || count[b] == 0 {
		s.t.Errorf("%d came to a and %d to b, of them %d different", count[a], count[b], len(seen))
	}
	a.leave()
	s.say(m, numbers(all, all+10)...)
	for len(seen) < all+10 { // b gets the messages that a was sent while it left, later
		seen[receive(s.ctx, s.t, "what is left", b.messages).Payload] = true
	}
}

// request: the answer to a request goes to its response topic, with its correlation data,
// MQTT 5 §4.10. The other properties of a publication arrive too.
func request(s *scene) {
	ask, answer := s.topic("ask"), s.topic("answer")
	requester, responder := s.listen("requester", answer, 1), s.listen("responder", ask, 1)
	q := message{Topic: ask, QoS: 1, Properties: properties{
		ResponseTopic:   answer,
		CorrelationData: "question-7",
		ContentType:     "text/plain",
		User:            map[string]string{"unit": "°C"},
	}}
	s.say(q, "how warm?")
	q.Payload = "how warm?"
	s.expect(responder, q)
	a := message{Topic: q.Properties.ResponseTopic, QoS: 1, Properties: properties{CorrelationData: q.Properties.CorrelationData}}
	s.say(a, "20.5")
	a.Payload = "20.5"
	s.expect(requester, a)
}
