package gateway

import (
	"context"
	"errors"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// nextMilli waits for the clock, so that who connects now has connected later than those before.
func nextMilli() {
	for now := time.Now().UnixMilli(); time.Now().UnixMilli() == now; {
		continue
	}
}

// Of the devices to which nothing is on its way, those are asked to go that came last.
func TestMove(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Loops: 1, MaxConnections: 100}})
	var peers []*peer
	for i := range 6 {
		peers = append(peers, w.greeted("/connect/d"+strconv.Itoa(i), "topic/"+strconv.Itoa(i)))
		nextMilli()
	}
	w.publish("topic/5", 1, message.AtLeastOnce, "not acknowledged")
	if got := peers[5].nextPacket(); got.ID == 0 {
		t.Fatalf("%+v", got)
	}
	if n := w.gateway.Move(2, noServer); n != 2 {
		t.Fatalf("asked %d devices to go", n)
	}
	for _, p := range peers[3:5] {
		if e := p.closed(); e.Code != 1012 || e.Reason[:len("try another node; retry after ")] != "try another node; retry after " {
			t.Errorf("closed with %d %q", e.Code, e.Reason)
		}
	}
	w.await("only the other four are on line", func() bool { _, online := w.sessions.Count(); return online == 4 })
	if n := w.gateway.Move(10, noServer); n != 3 {
		t.Errorf("asked %d devices to go, where three have nothing on its way", n)
	}
	w.await("only the busy one is on line", func() bool { _, online := w.sessions.Count(); return online == 1 })
	if e := peers[0].closed(); e.Code != 1012 {
		t.Errorf("closed with %d", e.Code)
	}
}

func noServer() string { return "" }

// A device of MQTT 5 is told the server to which it should go, if one is known.
func TestMoveNamesServer(t *testing.T) {
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		for _, server := range []string{"gw-2.example.com:1883", ""} {
			p := w.client("d")
			w.await("the device is moved", func() bool { return w.gateway.Move(1, func() string { return server }) == 1 })
			last := p.ended()
			if w.way.version != mqtt.V5 {
				continue
			}
			if last == nil || last.Reason != mqtt.UseAnotherServer || last.Properties.ServerReference != server {
				t.Errorf("ended with %v", last)
			}
		}
	})
}

// While its health checks fail already, a node that is drained takes devices, because balancers still send some.
func TestDrainDelay(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{DrainDelay: time.Hour}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.gateway.Drain(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want canceled", err)
	}
	if w.gateway.Ready() {
		t.Error("ready")
	}
	if got := ask(t, w.dial(), "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); got.status != 503 {
		t.Errorf("the health check is told %d", got.status)
	}
	w.greeted("/connect/late")
}

// After the delay nobody listens, so that a balancer tries another node. Devices go when they are moved, also busy ones.
func TestDrainInCluster(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Together: true, DrainDelay: time.Millisecond, MQTT: MQTT{Listen: "127.0.0.1:0"}}})
	busy := w.greeted("/connect/busy", "topic")
	w.publish("topic", 1, message.AtLeastOnce, "not acknowledged")
	busy.nextPacket()
	drained := make(chan error, 1)
	go func() { drained <- w.gateway.Drain(t.Context()) }()
	for _, addr := range []string{w.gateway.Addr().String(), w.gateway.MQTTAddr().String()} {
		w.await("nobody listens at "+addr, func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				_ = c.Close() // it was too early
			}
			return err != nil
		})
	}
	if _, online := w.sessions.Count(); online != 1 {
		t.Errorf("%d devices are on line", online)
	}
	w.await("the device is asked to go", func() bool { return w.gateway.Move(1, noServer) == 1 })
	if e := busy.closed(); e.Code != 1012 {
		t.Errorf("closed with %d %q", e.Code, e.Reason)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// A Meter sees connections, and loops that do not run. It does not wait for them.
func TestMeter(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Loops: 1, MaxConnections: 4}})
	w.greeted("/connect/a")
	m := w.gateway.NewMeter()
	w.await("memory and processors are used", func() bool {
		l := m.Sample()
		return l.Memory > 0 && l.CPU > 0
	})
	if l := m.Sample(); l.Connections != 0.25 {
		t.Errorf("%+v: one of four connections is there", l)
	}
	release := w.hold()
	w.await("the loop is late", func() bool { return m.Sample().Lag > time.Millisecond })
	release()
	late := m.Sample().Lag
	w.await("the loop is late no more", func() bool { return m.Sample().Lag < late })
}
