package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/wire/mqtt"
)

// tight are settings in which few publications fill a queue and few answers may wait.
func tight() (s settings) {
	s.sessions.Unanswered, s.sessions.InFlight, s.store.Queue.Count = 2, 2, 4
	s.gateway.Heartbeat, s.gateway.HeartbeatTimeout = 500*time.Millisecond, 1500*time.Millisecond
	return s
}

// briefly is a CONNECT with a keep alive of seconds whose session is kept.
func briefly(device string, seconds uint16) *mqtt.Packet {
	p := keeping(device)
	p.Connect.KeepAlive = seconds
	return p
}

// burst sends publications of QoS 1 to a topic in one write, numbered from first to last.
func (p *mqttPeer) burst(topic string, first, last int) {
	p.t.Helper()
	var all []*mqtt.Packet
	for i := first; i <= last; i++ {
		all = append(all, saying(fmt.Sprint(topic, "=", i), 1, uint16(i)))
	}
	p.say(all...)
}

// drown acknowledges what comes, which is not read, until the connection ends.
func (p *mqttPeer) drown() {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case packet, ok := <-p.packets:
			if !ok {
				return
			}
			if packet.Type == mqtt.Publish {
				p.say(&mqtt.Packet{Type: mqtt.Puback, ID: packet.ID})
			}
		case <-timeout:
			p.t.Fatal("the connection did not end")
		}
	}
}

// A client of 3.1.1 that publishes to itself more than there is room for acknowledges behind
// publications that wait for its acknowledgements. It is closed after its patience, and goes on
// when it comes again.
func TestMQTTStuckWithItself(t *testing.T) {
	for _, keepAlive := range []uint16{0, 1} {
		eachWay(t, ways[1:3], tight(), func(w *mqttWorld) {
			p, _ := w.connectAs(briefly("a", keepAlive))
			p.hear(1, "t")
			began := time.Now()
			p.burst("t", 1, 10)
			p.drown()
			if took := time.Since(began); took < time.Second || took > patience/2 {
				w.t.Errorf("closed after %v, want 1.5 s", took)
			}
			w.awaitPresence("a", false)

			p, _ = w.connectAs(briefly("a", keepAlive))
			for i := 3; i <= 6; i++ { // those that it had seen made room for those that waited
				p.receive(fmt.Sprintf("t=%d qos 1", i))
			}
			p.publish("t=7", 1)
			p.receive("t=7 qos 1")
		})
	}
}

// answered takes the answers to a burst, and lets what comes between them lie.
func (p *mqttPeer) answered(last uint16) {
	p.t.Helper()
	for id := uint16(1); id <= last; {
		packet := <-p.packets
		switch {
		case packet == nil:
			p.t.Fatalf("the connection has ended before the answer to %d: %v", id, p.end)
		case packet.Type == mqtt.Puback && packet.ID != id:
			p.t.Fatalf("PUBACK of %d, want %d", packet.ID, id)
		case packet.Type == mqtt.Puback:
			id++
		}
	}
}

// Of two that publish to each other, the one of less patience is closed, and the other goes on.
func TestMQTTStuckWithEachOther(t *testing.T) {
	eachWay(t, ways[1:2], tight(), func(w *mqttWorld) {
		a, _ := w.connectAs(briefly("a", 1))
		b, _ := w.connectAs(briefly("b", 2))
		a.hear(1, "a")
		b.hear(1, "b")
		a.burst("b", 1, 10)
		b.burst("a", 1, 10)
		a.drown()
		b.answered(10)
	})
}

// A publisher that waits for another device only stays, however long.
func TestMQTTSlowedIsNotStuck(t *testing.T) {
	eachWay(t, ways[1:2], tight(), func(w *mqttWorld) {
		down := w.client("down")
		down.hear(1, "t")
		clock, _ := w.connectAs(briefly("clock", 2))
		up, _ := w.connectAs(briefly("up", 1))
		up.hear(1, "for/up")
		up.burst("t", 1, 10)
		clock.ended()
		for i := 1; i <= 10; i++ {
			down.receive(fmt.Sprintf("t=%d qos 1", i))
		}
		up.answered(10)
	})
}

// A client whose publications wait gets an answer to its PINGREQ, which is not read behind them.
func TestMQTTPingIsAnsweredWhileOthersWait(t *testing.T) {
	eachWay(t, ways, tight(), func(w *mqttWorld) {
		down := w.client("down")
		down.hear(1, "t")
		up, _ := w.connectAs(briefly("up", 2))
		up.burst("t", 1, 10)
		up.say(&mqtt.Packet{Type: mqtt.Pingreq})
		for {
			packet := <-up.packets
			if packet == nil {
				w.t.Fatalf("the connection has ended: %v", up.end)
			}
			if packet.Type == mqtt.Pingresp {
				break
			}
		}
	})
}
