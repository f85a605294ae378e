package gateway

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
	"github.com/longline/longline/internal/wire/mqtt"
)

// storeDelay is what a slow store takes for everything.
const storeDelay = 400 * time.Millisecond

// lag measures how long the loops let a post wait, at the worst, until stop is called.
func (w *world) lag() (stop func() time.Duration) {
	ended, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		var most time.Duration
		for {
			select {
			case <-ended:
				worst <- most
				return
			default:
				from := time.Now()
				w.gateway.group.Each(func(*reactor.Loop) {})
				most = max(most, time.Since(from))
			}
		}
	}()
	return func() time.Duration { close(ended); return <-worst }
}

// A store that takes its time delays answers: no loop waits for it, and devices do not wait for each other.
func TestSlowStore(t *testing.T) {
	const devices = 40
	eachWay(t, []way{{mqtt.V4, "tcp"}, {mqtt.V5, "websocket"}}, settings{durable: storetest.NewSlow(store.Options{}, storeDelay)}, func(w *mqttWorld) {
		lag := w.lag()
		from := time.Now()
		var all sync.WaitGroup
		for i := range devices {
			device := fmt.Sprintf("d%d-%s-%d", w.way.version, w.way.carrier, i)
			p := w.dial()
			all.Go(func() {
				p.say(keeping(device))
				p.sees(mqtt.Connack)
				p.say(&mqtt.Packet{Type: mqtt.Subscribe, ID: 9, Subscriptions: []mqtt.Subscription{{Filter: device, QoS: 2}}})
				p.sees(mqtt.Suback)
				p.say(saying(device+"=x", 2, 7))
				p.sees(mqtt.Publish, mqtt.Pubrec)
			})
		}
		all.Wait()
		took, worst := time.Since(from), lag()
		t.Logf("%d devices took %v, the worst lag was %v", devices, took, worst)
		if worst >= storeDelay {
			t.Errorf("a loop stood still for %v", worst)
		}
		// each waits for SUBACK, its message and PUBREC
		if most := devices * storeDelay / 2; took > most {
			t.Errorf("%d devices took %v, want at most %v", devices, took, most)
		}
	})
}

// held is a durable store that reads no messages before reading is closed.
type held struct {
	*storetest.OnJournal
	asked, reading chan struct{}
}

func (s *held) Read(p *store.Page) error {
	s.asked <- struct{}{}
	<-s.reading
	return s.OnJournal.Read(p)
}

// newHeld has a session of a device for which a message is on the medium alone.
func newHeld(t *testing.T, device string) *held {
	t.Helper()
	s := storetest.NewOnJournal(store.Options{})
	s.Save(&store.Record{Device: device, Session: 1, Expiry: time.Hour})
	m := message.Message{Topic: "a", Payload: []byte("x")}
	q := s.Queue(device)
	if err := q.Push(m.Clone(), message.AtLeastOnce, time.Now()); err != nil {
		t.Fatal(err)
	}
	safe := make(chan error, 1)
	s.Commit(func(err error) { safe <- err })
	if err := <-safe; err != nil || q.Unload(0) || q.InMemory() > 0 {
		t.Fatalf("the message is in memory, %v", err)
	}
	return &held{s, make(chan struct{}), make(chan struct{})}
}

// A credential that is revoked while messages for its device are read lets nobody in: there was no connection of it to close.
func TestRevokeWhileMessagesAreRead(t *testing.T) {
	for _, who := range []auth.Bearer{{Device: "a"}, {Credential: "t1"}} {
		s := newHeld(t, "a")
		w := newGuarded(t, jwtOnly(t), settings{durable: s})
		c := w.dial()
		token := sign(t, jwt.MapClaims{"sub": "a", "jti": "t1"})
		begin(t, c, upgrade("/connect?token="+token))
		<-s.asked
		if _, err := w.gateway.Revoke(who, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		close(s.reading)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%+v: %s", who, response.Status)
		}
		if info, ok := w.sessions.Get("a"); ok && info.Online {
			t.Errorf("%+v: the device is on line", who)
		}
	}
}

// lastFirst reads messages for whoever asks first when reading is closed, and for all others at once.
type lastFirst struct {
	*held
	calls atomic.Int32
}

func (s *lastFirst) Read(p *store.Page) error {
	if s.calls.Add(1) == 1 {
		return s.held.Read(p)
	}
	return s.OnJournal.Read(p)
}

// A device that connects again while messages are read for its first connection has the second one. The first is told why it is
// refused.
func TestConnectsAgainWhileMessagesAreRead(t *testing.T) {
	s := &lastFirst{held: newHeld(t, "a")}
	w := newGuarded(t, jwtOnly(t), settings{durable: s})
	request := upgrade("/connect?token=" + sign(t, jwt.MapClaims{"sub": "a", "jti": "t1"}))
	statusOf := func(c net.Conn) int {
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	first, second := w.dial(), w.dial()
	begin(t, first, request)
	<-s.asked
	begin(t, second, request)
	if status := statusOf(second); status != http.StatusSwitchingProtocols {
		t.Errorf("the second connection got %d", status)
	}
	close(s.reading)
	if status := statusOf(first); status != http.StatusConflict {
		t.Errorf("the first connection got %d", status)
	}
}

// sees takes packets of the types, in any order.
func (p *mqttPeer) sees(want ...mqtt.Type) {
	for range want {
		packet := <-p.packets
		if packet == nil || !slices.Contains(want, packet.Type) {
			p.t.Errorf("got %+v, want one of %v; %v", packet, want, p.end)
			return
		}
	}
}
