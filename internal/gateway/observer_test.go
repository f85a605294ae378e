package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// diary is every observer there is. Safe from any goroutine.
type diary struct {
	mu     sync.Mutex
	events []string
	ids    map[string]uint64 // by topic, that were published
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, fmt.Sprintf(format, args...))
}

func (d *diary) Accepted(from netip.AddrPort) { d.note("accepted %v", from.Addr()) }
func (d *diary) Attached(device string, p devices.Peer) {
	d.note("attached %s %v %s", device, p.Addr.Addr(), p.Protocol)
}
func (d *diary) Refused(device string, p devices.Peer, why string) {
	d.note("refused %q %v %s", device, p.Addr.Addr(), why)
}
func (d *diary) Closed(device string, p devices.Peer, why string) {
	d.note("closed %s %v %s", device, p.Addr.Addr(), why)
}

func (d *diary) Published(m *message.Message, receivers int) {
	if m.Topic[0] == '$' {
		return // presence
	}
	d.note("published %s by %s to %d", m.Topic, m.Source, receivers)
	d.mu.Lock()
	d.ids[m.Topic] = m.ID
	d.mu.Unlock()
}

func (d *diary) Dropped(m *message.Message, device string, why router.Drop, n int) {
	topic := ""
	if m != nil {
		topic = m.Topic
	}
	d.note("dropped %s of %s: %v %d", topic, device, why, n)
}

func (d *diary) Sent(m *message.Message, device string, q message.QoS) {
	d.note("sent %s to %s with qos %d, %v", m.Topic, device, q, m.ID == d.id(m.Topic))
}

func (d *diary) Acknowledged(id uint64, device string) {
	d.note("acknowledged by %s, %v", device, id == d.id("a"))
}

func (d *diary) id(topic string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[topic]
}

func (d *diary) has(event string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.events, event)
}

// Observers are told of all that happens to a connection and to messages, once and in order.
func TestObservers(t *testing.T) {
	d := &diary{ids: make(map[string]uint64)}
	w := newWorld(t, settings{
		gateway:  Config{Loops: 1, MaxConnections: 100, MQTT: MQTT{Listen: "127.0.0.1:0"}, Observer: d},
		router:   router.Config{Observer: d},
		sessions: session.Config{Observer: d},
	})
	if got := ask(t, w.dial(), "GET /connect/nobody HTTP/1.1\r\nHost: x\r\n\r\n"); got.status != 426 {
		t.Fatalf("%+v", got)
	}
	p := (&mqttWorld{w, way{mqtt.V5, "tcp"}}).client("m")
	p.hear(1, "a")
	p.publish("nobody=x", 0)
	p.publish("a=x", 1)
	p.receive("a=x qos 1")
	p.publish("$mine=x", 0)
	w.await("the drop", func() bool { return d.has("dropped $mine of m: not_allowed 1") })
	w.sessions.Disconnect("m", wire.CloseKicked)
	p.ended()
	w.await("the end", func() bool { return d.has("closed m 127.0.0.1 kicked") })
	d.mu.Lock()
	defer d.mu.Unlock()
	want := []string{
		"accepted 127.0.0.1",
		`refused "" 127.0.0.1 426`,
		"accepted 127.0.0.1",
		"attached m 127.0.0.1 mqtt 5",
		"published nobody by m to 0",
		"published a by m to 1",
		"sent a to m with qos 1, true",
		"acknowledged by m, true",
		"dropped $mine of m: not_allowed 1",
		"closed m 127.0.0.1 kicked",
	}
	if !slices.Equal(d.events, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(d.events, "\n"), strings.Join(want, "\n"))
	}
}

// Of connections that are refused or broken off one is logged, with who and why; those that end as they should are not.
func TestBrokenConnectionsAreLogged(t *testing.T) {
	var log lines
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	w := newWorld(t, settings{gateway: Config{Loops: 1, MaxConnections: 100, MQTT: MQTT{Listen: "127.0.0.1:0"}}})
	m := &mqttWorld{w, way{mqtt.V5, "tcp"}}
	for range 2 {
		p := m.client("m")
		p.say(&mqtt.Packet{Type: mqtt.Auth}) // which says nothing
		p.endedWith(mqtt.ProtocolError)
		if got := ask(t, w.dial(), "GET /connect/nobody HTTP/1.1\r\nHost: x\r\n\r\n"); got.status != 426 {
			t.Fatalf("%+v", got)
		}
		p = m.client("n")
		p.say(&mqtt.Packet{Type: mqtt.Disconnect})
		p.ended()
		w.awaitPresence("n", false)
	}
	for part, want := range map[string]int{
		"others like it are only counted": 2,
		"connection refused; for a while, others like it are only counted\" device=\"\" address=127.0.0.1:": 1,
		"connection closed; for a while, others like it are only counted\" device=m address=127.0.0.1:":     1,
		"protocol=\"mqtt 5\" code=contract reason=\"not a reason code of AUTH\"":                            1,
		"code=426 reason=\"": 1,
	} {
		if found := log.containing(part); len(found) != want {
			t.Errorf("%q: %q", part, found)
		}
	}
}

// A connection that fails in TLS was not accepted, so that nobody is told of its end.
func TestObserversAreNotToldOfFailedTLS(t *testing.T) {
	files, _ := tlsFiles(t)
	d := &diary{ids: make(map[string]uint64)}
	w := newWorld(t, settings{gateway: Config{TLS: files, Observer: d}})
	c := w.dial()
	if _, err := io.WriteString(c, "this is no TLS\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	w.await("the end of the handshake", func() bool { return w.metric("longline_handshakes_total/incomplete") == 1 })
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.events) > 0 {
		t.Errorf("told of %q", d.events)
	}
}
