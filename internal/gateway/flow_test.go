package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/websocket"
)

// packet is what the tests look at in a JSON packet of the gateway.
type packet struct {
	Op      string
	ID      uint64
	Payload int
	Error   struct{ Code string }
}

func (p *peer) nextPacket() (got packet) {
	p.t.Helper()
	frame := p.next()
	if err := json.Unmarshal(frame, &got); err != nil && !strings.Contains(string(frame), `"hello"`) {
		p.t.Fatalf("%s: %v", frame, err)
	}
	return got
}

// expectAcks takes n acks without error, of the ids from first on, in order.
func (p *peer) expectAcks(first, n int) {
	p.t.Helper()
	for id := first; id < first+n; id++ {
		if got := p.nextPacket(); got.Op != "ack" || got.ID != uint64(id) || got.Error.Code != "" {
			p.t.Fatalf("%+v, want the ack of %d", got, id)
		}
	}
}

// greeted connects a device, takes its hello, and subscribes it.
func (w *world) greeted(target string, filters ...string) *peer {
	w.t.Helper()
	p := w.connect(target)
	p.next()
	if len(filters) > 0 {
		list, _ := json.Marshal(filters)
		p.say(fmt.Sprintf(`{"op":"sub","id":1,"filters":%s,"qos":1}`, list))
		p.expectAcks(1, 1)
	}
	return p
}

// A subscriber that does not acknowledge slows its publisher down: the answers wait, the
// publisher is not read any more, and is not taken for lost although nothing is heard from
// it. When the subscriber goes on, everything arrives once, in order.
func TestLaggingSubscriberSlowsItsPublisher(t *testing.T) {
	const messages, queue, unanswered = 50, 4, 3
	const beat, timeout = time.Second, 3 * time.Second // long enough for a busy machine to answer pings
	w := newWorld(t, settings{
		gateway:  Config{Heartbeat: beat, HeartbeatTimeout: timeout},
		router:   router.Config{MaxWait: patience},
		sessions: session.Config{InFlight: 2, Unanswered: unanswered},
		store:    store.Options{Queue: store.Limits{Count: queue}},
	})
	slow, fast := w.greeted("/connect/slow", "t"), w.greeted("/connect/fast")
	for i := range messages {
		fast.say(fmt.Sprintf(`{"op":"pub","id":%d,"topic":"t","payload":%d,"qos":1}`, i+1, i))
	}
	fast.expectAcks(1, queue)
	select {
	case frame, ok := <-fast.frames:
		t.Fatalf("%q, %v: answered although there is no room", frame, ok)
	case <-time.After(2 * timeout):
	}
	if info, _ := w.sessions.Get("slow"); info.Queued != queue || info.Waiting != unanswered || info.InFlight != 2 {
		t.Errorf("queued %d, in flight %d, waiting %d; want %d, 2, %d", info.Queued, info.InFlight, info.Waiting, queue, unanswered)
	}
	for i := range messages {
		got := slow.nextPacket()
		if got.Op != "msg" || got.Payload != i {
			t.Fatalf("%+v, want message %d", got, i)
		}
		slow.say(fmt.Sprintf(`{"op":"ack","id":%d}`, got.ID))
	}
	fast.expectAcks(queue+1, messages-queue)
	slow.quiet()
}

// A publisher that is not read for a while, and then read again, is not pinged for that.
func TestPublisherIsReadAgainWithoutPing(t *testing.T) {
	const unanswered, rounds = 2, 20
	w := newWorld(t, settings{
		gateway:  Config{Heartbeat: time.Hour},
		router:   router.Config{MaxWait: patience},
		sessions: session.Config{Unanswered: unanswered},
		store:    store.Options{Queue: store.Limits{Count: 1}},
	})
	slow := w.greeted("/connect/slow", "t")
	fast, r := w.rawDevice("fast")
	for i := range rounds * unanswered {
		if _, err := fast.Write(masked(fmt.Sprintf(`{"op":"pub","id":%d,"topic":"t","payload":%d,"qos":1}`, i+1, i))); err != nil {
			t.Fatal(err)
		}
	}
	for range rounds * unanswered {
		slow.say(fmt.Sprintf(`{"op":"ack","id":%d}`, slow.nextPacket().ID))
	}
	acks := 0
	if err := frames(r, func(ev websocket.Event) bool {
		if ev.Op == websocket.Ping {
			t.Errorf("a ping after %d acks", acks)
		}
		if strings.Contains(string(ev.Payload), `"ack"`) {
			acks++
		}
		return acks < rounds*unanswered
	}); err != nil {
		t.Fatal(err)
	}
}

// When the subscriber does not go on, its publisher is refused, in order.
func TestPublisherIsRefusedAfterMaxWait(t *testing.T) {
	const wait = 200 * time.Millisecond
	w := newWorld(t, settings{
		router: router.Config{MaxWait: wait},
		store:  store.Options{Queue: store.Limits{Count: 1}},
	})
	w.greeted("/connect/slow", "t")
	fast := w.greeted("/connect/fast")
	start := time.Now()
	for i := range 3 {
		fast.say(fmt.Sprintf(`{"op":"pub","id":%d,"topic":"t","payload":%d,"qos":1}`, i+1, i))
	}
	fast.say(`{"op":"pub","id":4,"topic":"nobody","payload":0,"qos":1}`) // has to wait its turn
	fast.expectAcks(1, 1)
	for id := uint64(2); id <= 3; id++ {
		if got := fast.nextPacket(); got.ID != id || got.Error.Code != "queue_full" {
			t.Errorf("%+v, want queue_full for %d", got, id)
		}
	}
	if took := time.Since(start); took < wait || took > 10*wait {
		t.Errorf("refused after %v, want %v", took, wait)
	}
	fast.expectAcks(4, 1)
}

// Whatever was acknowledged to its publisher reaches a subscriber that comes and goes, and
// what the subscriber acknowledged never comes again.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	const publishers, messages, stay = 3, 200, 37
	w := newWorld(t, settings{sessions: session.Config{InFlight: 8}})
	sub := w.greeted("/connect/sub", "t/+")
	var pubs []*peer
	for n := range publishers {
		p := w.greeted(fmt.Sprintf("/connect/pub%d", n))
		pubs = append(pubs, p)
		go func() {
			for i := range messages {
				p.say(fmt.Sprintf(`{"op":"pub","id":%d,"topic":"t/%d","payload":%d,"qos":1}`, i+1, n, n*messages+i))
			}
		}()
	}
	acked := map[uint64]bool{}
	var got [publishers][]int
	for count := 1; len(acked) < publishers*messages; count++ {
		m := sub.nextPacket()
		if m.Op != "msg" || acked[m.ID] {
			t.Fatalf("%+v: acknowledged before", m)
		}
		if count%stay == 0 { // the next one is left unacknowledged
			if err := sub.ws.Close(1000, ""); err != nil {
				t.Fatal(err)
			}
			sub = w.greeted("/connect/sub")
			continue
		}
		sub.say(fmt.Sprintf(`{"op":"ack","id":%d}`, m.ID))
		acked[m.ID] = true
		n := m.Payload / messages
		got[n] = append(got[n], m.Payload%messages)
	}
	for n := range got {
		pubs[n].expectAcks(1, messages)
		if !slices.IsSorted(got[n]) || len(slices.Compact(got[n])) != messages {
			t.Errorf("publisher %d: got %v", n, got[n])
		}
	}
	sub.quiet()
}
