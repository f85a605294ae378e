package fleet

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// The rate is for the whole fleet, and the devices take turns.
func TestSynthetic(t *testing.T) {
	for _, qos := range []message.QoS{message.AtMostOnce, message.AtLeastOnce} {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			g := newGateway(t, script{})
			report, err := g.run(Config{Loops: 2, Synthetic: Synthetic{
				Devices: 10, Rate: 400, Payload: 20, QoS: qos, Duration: 500 * time.Millisecond,
			}})
			if err != nil {
				t.Fatal(err)
			}
			if report.Sent != 200 || report.Skipped != 0 || report.Connected != 10 || !report.Complete() {
				t.Errorf("report: %+v", report)
			}
			if want := 200 * uint64(qos); report.Acknowledged != want {
				t.Errorf("%d acknowledged, want %d", report.Acknowledged, want)
			}
			for i := range 10 {
				if got := g.got(fmt.Sprint("fleet-", i)); len(got) != 20 || got[0] != `"xxxxxxxxxxxxxxxxxx"` {
					t.Errorf("device %d sent %d messages: %.40q", i, len(got), got)
				}
			}
		})
	}
}

// If the gateway acknowledges nothing, the window bounds the messages under way, the fleet skips the others,
// and the report says so.
func TestSyntheticWindow(t *testing.T) {
	g := newGateway(t, script{pub: func(p *peer, pub *wire.Packet) {
		if p.seen > 4 {
			t.Errorf("publication %d with a window of 4", p.seen)
		}
		if p.seen == 4 { // the device gives up: do not wait for the drain
			p.conn.Close()
		}
	}})
	report, err := g.run(Config{
		Window:    4,
		Reconnect: Backoff{MaxTries: 1},
		Synthetic: Synthetic{Rate: 1000, Payload: 1, QoS: message.AtLeastOnce, Duration: 10 * time.Second},
	})
	if err == nil || report.Sent != 4 || report.Unsent != 4 || report.Waiting != 0 {
		t.Errorf("%v, report: %+v", err, report)
	}
}

func TestLoadDue(t *testing.T) {
	for _, tt := range []struct {
		rate       float64
		begin, end time.Duration
		now        time.Duration
		want       uint64
	}{
		{100, 0, 0, 0, 0},
		{100, 0, 0, 10 * time.Millisecond, 1},
		{100, 0, 0, 3 * time.Second, 300},
		{100, 2 * time.Second, 0, time.Second, 0},
		{100, 2 * time.Second, 3 * time.Second, 2500 * time.Millisecond, 50},
		{100, 2 * time.Second, 3 * time.Second, time.Hour, 100},
		{0.5, 0, 0, 3 * time.Second, 1},
	} {
		d := load{rate: tt.rate, begin: tt.begin, end: tt.end}
		if got := d.due(tt.now); got != tt.want {
			t.Errorf("%v/s from %v to %v: %d due at %v, want %d", tt.rate, tt.begin, tt.end, got, tt.now, tt.want)
		}
	}
}

// The latency of a message that was due during a stall includes the stall.
func TestLoadSince(t *testing.T) {
	d := load{rate: 10, begin: time.Second, done: 5} // the next one was due at 1.5 s
	const interval = 5 * time.Millisecond
	for now, want := range map[time.Duration]time.Duration{
		1500 * time.Millisecond: 1500 * time.Millisecond,
		1510 * time.Millisecond: 1510 * time.Millisecond,
		1511 * time.Millisecond: 1500 * time.Millisecond,
		9 * time.Second:         1500 * time.Millisecond,
	} {
		if got := d.since(now, interval); got != want {
			t.Errorf("at %v: since %v, want %v", now, got, want)
		}
	}
}

func TestReading(t *testing.T) {
	at := time.UnixMilli(1767600000000)
	for n := range 200 {
		b := reading(n, at)
		if len(b) != n || n > 0 && !json.Valid(b) {
			t.Errorf("%d: %q", n, b)
		}
	}
	if got, want := string(reading(60, at)), `{"ts":1767600000000,"kwh":1234.567,"v":230.1,"pad":"xxxxxx"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
