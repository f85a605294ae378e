package gateway

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire/mqtt"
)

// A device above its rate is read later: nothing that it sends is lost, and it is not taken
// for silent meanwhile.
func TestDeviceRates(t *testing.T) {
	const took = time.Second // at least, for what is sent here
	for name, c := range map[string]struct {
		rates   limit.DeviceConfig
		packets int
		size    int // bytes of a payload
	}{
		"packets": {limit.DeviceConfig{Messages: 10}, 20, 1},
		"bytes":   {limit.DeviceConfig{Bytes: 5000}, 2, 5000},
	} {
		config := Config{Heartbeat: 300 * time.Millisecond, HeartbeatTimeout: 600 * time.Millisecond, Limits: limit.Config{Device: c.rates}}
		payload := strings.Repeat("x", c.size)
		t.Run(name+"/json", func(t *testing.T) {
			w := newWorld(t, settings{gateway: config})
			p := w.greeted("/connect/a")
			start := time.Now()
			for i := range c.packets {
				p.say(fmt.Sprintf(`{"op":"pub","id":%d,"topic":"t","payload":"%s","qos":1}`, i+1, payload))
			}
			p.expectAcks(1, c.packets)
			p.say(`{"op":"pub","id":100,"topic":"t","payload":1,"qos":1}`)
			p.expectAcks(100, 1)
			if d := time.Since(start); d < took || w.metric("longline_readers_slowed_total/rate") == 0 {
				t.Errorf("took %v, want %v", d, took)
			}
		})
		t.Run(name+"/mqtt", func(t *testing.T) {
			eachWay(t, ways[3:], settings{gateway: config}, func(w *mqttWorld) {
				p := w.client("a")
				start := time.Now()
				for range c.packets {
					p.publish("t="+payload, 1)
				}
				p.publish("t=x", 1)
				if d := time.Since(start); d < took || w.metric("longline_readers_slowed_total/rate") == 0 {
					w.t.Errorf("took %v, want %v", d, took)
				}
			})
		})
	}
}

// The other mode closes the device, and says why.
func TestDeviceAboveItsRateIsClosed(t *testing.T) {
	config := Config{Limits: limit.Config{Device: limit.DeviceConfig{Messages: 5, Above: limit.Disconnect}}}
	t.Run("json", func(t *testing.T) {
		w := newWorld(t, settings{gateway: config})
		p := w.greeted("/connect/a")
		for range 10 {
			_, _ = p.tcp.Write(masked(`{"op":"pub","topic":"t","payload":1}`))
		}
		if e := p.closed(); e.Code != 1008 || !strings.Contains(e.Reason, "exceeds its rate limit") {
			t.Errorf("closed with %d %q", e.Code, e.Reason)
		}
		if w.metric("longline_closes_total/rate") != 1 {
			t.Error("it is not counted")
		}
	})
	eachWay(t, ways[1:], settings{gateway: config}, func(w *mqttWorld) {
		p := w.client("a")
		var all []*mqtt.Packet
		for range 10 {
			all = append(all, saying("t=1", 0, 0))
		}
		p.say(all...) // at once: it may be closed while it sends
		p.endedWith(mqtt.MessageRateTooHigh)
	})
}

// shortOf is a world that is told how much of its memory is in use.
type shortOf struct {
	*mqttWorld
	percent atomic.Int64
}

func newShortOf(t *testing.T, s settings) *shortOf {
	o := &shortOf{}
	s.gateway.Limits.Memory.Interval = time.Millisecond
	s.gateway.MQTT.Listen = "127.0.0.1:0"
	s.hooks.usage = func() (limit.Usage, error) { return limit.Usage{Used: o.percent.Load(), Limit: 100}, nil }
	o.mqttWorld = &mqttWorld{newWorld(t, s), way{mqtt.V5, "tcp"}}
	return o
}

// use says how much is in use, and waits until it has been seen.
func (o *shortOf) use(percent int64, stage limit.Stage) {
	o.t.Helper()
	o.percent.Store(percent)
	o.await(stage.String(), func() bool { return o.gateway.door.Stats().Stage == stage })
	if got := o.metric("longline_overload_stage"); got != float64(stage) {
		o.t.Errorf("the stage is %v, want %v", got, stage)
	}
}

// First those who publish are read later; who only listens is not.
func TestShortOfMemorySlowsPublishers(t *testing.T) {
	o := newShortOf(t, settings{})
	p, m := o.greeted("/connect/a"), o.client("m")
	for used, least := range map[int64]time.Duration{70: time.Second, 10: 0} {
		o.use(used, map[int64]limit.Stage{70: limit.SlowReaders, 10: limit.Calm}[used])
		slowed := o.metric("longline_readers_slowed_total/memory")
		start := time.Now()
		p.say(`{"op":"pub","id":1,"topic":"t","payload":1,"qos":1}`)
		p.expectAcks(1, 1)
		p.say(`{"op":"pub","id":2,"topic":"t","payload":1,"qos":1}`)
		p.expectAcks(2, 1)
		m.publish("t=1", 1)
		m.publish("t=2", 1)
		if took := time.Since(start); took < least {
			t.Errorf("at %d%%: took %v", used, took)
		}
		if got := o.metric("longline_readers_slowed_total/memory") - slowed; (got > 0) != (least > 0) {
			t.Errorf("at %d%%: slowed %v times", used, got)
		}
		p.say(`{"op":"sub","id":3,"filters":["x"]}`)
		p.expectAcks(3, 1)
	}
}

// Then new connections are refused.
func TestShortOfMemoryRefusesConnections(t *testing.T) {
	o := newShortOf(t, settings{})
	here := o.greeted("/connect/a")
	o.use(75, limit.RefuseNew)
	o.connect("/connect/b").refusedWith(503, "short of memory")
	if _, answer := o.connectAs(opening("b")); answer.Reason != mqtt.ServerBusy {
		t.Errorf("CONNACK %s", show(answer))
	}
	here.quiet()
	o.use(71, limit.RefuseNew) // it ends 5% below its mark
	o.use(60, limit.Calm)
	o.greeted("/connect/b")
	if o.metric("longline_connections_refused_total/memory") != 2 {
		t.Error("two refusals are not counted")
	}
}

// Then QoS 0 messages that have to wait are dropped, and no others.
func TestShortOfMemoryShedsQoS0(t *testing.T) {
	o := newShortOf(t, settings{sessions: session.Config{InFlight: 1}})
	p := o.greeted("/connect/a", "t")
	say := func(q message.QoS, payload string) {
		t.Helper()
		m := &message.Message{Topic: "t", Payload: []byte(payload), ContentType: message.JSON, QoS: q, Time: time.Now().UnixMilli()}
		if _, err := o.router.Publish(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, q := range []message.QoS{1, 1, 0, 0} { // the first fills the window, the others wait
		say(q, fmt.Sprint(i))
	}
	dropped := func() float64 { return o.metric("longline_messages_dropped_total/shed") }
	o.use(80, limit.ShedQoS0)
	o.await("two are shed", func() bool { return dropped() == 2 })
	say(0, "4")
	say(1, "5")
	if dropped() != 3 {
		t.Errorf("%v are shed, want 3", dropped())
	}
	for _, want := range []int{0, 1, 5} {
		got := p.nextPacket()
		if got.Payload != want {
			t.Fatalf("%+v, want %d", got, want)
		}
		p.say(fmt.Sprintf(`{"op":"ack","id":%d}`, got.ID))
	}
	p.quiet()
	say(0, "6") // it need not wait
	if got := p.nextPacket(); got.Payload != 6 {
		t.Errorf("%+v", got)
	}
}

// At last those are closed who do not take what is sent to them.
func TestShortOfMemoryClosesSlowConsumers(t *testing.T) {
	o := newShortOf(t, settings{})
	c, r := o.rawDevice("slow")
	if _, err := c.Write(masked(`{"op":"sub","id":1,"filters":["t"]}`)); err != nil {
		t.Fatal(err)
	}
	skipFrame(t, r)
	skipFrame(t, r)
	honest := o.greeted("/connect/honest", "u")
	blocked := func() bool {
		m := &message.Message{Topic: "t", Payload: []byte(`"` + strings.Repeat("x", 64<<10) + `"`), ContentType: message.JSON, Time: time.Now().UnixMilli()}
		if _, err := o.router.Publish(m, nil); err != nil {
			t.Fatal(err)
		}
		var full atomic.Bool // Queued alone may be what the loop has not come to yet
		o.gateway.group.Each(func(l *reactor.Loop) {
			door.Handlers(l, func(h door.Handler) bool {
				if h.Base().Transport().Blocked() {
					full.Store(true)
				}
				return true
			})
		})
		info, _ := o.sessions.Get("slow")
		return full.Load() && info.Queued > 1
	}
	o.await("its socket is full", blocked)
	o.use(85, limit.CloseSlow)
	if e := o.awaitPresence("slow", false); e.Reason != "slow_consumer" {
		t.Errorf("it ended by %q", e.Reason)
	}
	honest.quiet()
	if got := o.metric("longline_closes_total"); got != 1 {
		t.Errorf("%v connections were closed", got)
	}
}
