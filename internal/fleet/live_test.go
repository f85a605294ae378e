package fleet

import (
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// eventually polls done until it returns true, for ten seconds at most.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A fleet that was started stays connected, reports what it has received, and publishes each time that Publish
// is called.
func TestStart(t *testing.T) {
	g := newGateway(t, script{hello: func(p *peer) {
		m := &wire.Packet{Op: wire.Msg}
		m.Message.Topic = "a"
		p.send(m)
		if p.device == "fleet-1" {
			p.send(m)
		}
		p.conn.Write(websocket.AppendFrame(nil, websocket.Ping, nil))
	}})
	before := time.Now()
	f, err := Start(Config{Gateway: "ws://" + g.group.Addr().String(), Loops: 2, Synthetic: Synthetic{Devices: 3}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	eventually(t, "messages and pings", func() bool {
		s := f.Snapshot()
		return s.Connected == 3 && s.Received == 4 && s.Pings == 3
	})
	if n := f.LeastReceived(); n != 1 {
		t.Errorf("the device with fewest messages has %d, want 1", n)
	}
	if s := f.Snapshot(); s.LastHello.Before(before) || s.LastMessage.Before(s.LastHello) || s.LastMessage.After(time.Now()) {
		t.Errorf("greeted %v and received %v after the start", s.LastHello.Sub(before), s.LastMessage.Sub(before))
	}
	if l := f.Report().ConnectLatency; l.P50 <= 0 || l.Max < l.P50 {
		t.Errorf("connect latency: %+v", l)
	}
	f.ForgetLatency()
	if l := f.Report().ConnectLatency; l.Max != 0 {
		t.Errorf("connect latency was not forgotten: %+v", l)
	}
	for round := uint64(1); round <= 2; round++ {
		err := f.Publish(t.Context(), Synthetic{Rate: 300, Payload: 9, QoS: message.AtLeastOnce, Duration: 100 * time.Millisecond})
		if r := f.Report(); err != nil || r.Acknowledged != round*30 || !r.Complete() {
			t.Errorf("round %d: %v, report: %+v", round, err, r)
		}
	}
}
