package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// await waits until what is true for a moment at least is true.
func (w *world) await(what string, is func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	for !is() {
		select {
		case <-deadline:
			w.t.Fatalf("%s did not come true", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// metric is the present value of one.
func (w *world) metric(name string) float64 {
	w.t.Helper()
	return gathered(w.t, w.gateway)[name]
}

// refusedWith checks the refusal of a handshake: its status, why, and that it says when to
// come back.
func (p *peer) refusedWith(status int, reason string) {
	p.t.Helper()
	if !strings.HasPrefix(p.status, strconv.Itoa(status)) || !strings.Contains(p.status, reason) {
		p.t.Fatalf("%q, want %d and %q", p.status, status, reason)
	}
	if after, err := strconv.Atoi(p.header.Get("Retry-After")); err != nil || after < 1 {
		p.t.Errorf("Retry-After is %q", p.header.Get("Retry-After"))
	}
}

// Connections are counted for the node, the source and the prefix of device ids. Who leaves
// makes room.
func TestConnectionLimits(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		status int
		reason string
		label  string
	}{
		"node":    {Config{MaxConnections: 2}, 503, "The node has reached its limit", limit.NodeFull.Label},
		"address": {Config{Limits: limits(limit.CountConfig{PerAddress: 2})}, 429, "Too many connections from this address", limit.AddressFull.Label},
		"prefix":  {Config{Limits: limits(limit.CountConfig{PerPrefix: []string{"demo-=2", "other=1"}})}, 429, "Too many connections of devices with this prefix", limit.PrefixFull.Label},
	} {
		t.Run(name, func(t *testing.T) {
			c.config.MQTT.Listen = "127.0.0.1:0"
			w := newWorld(t, settings{gateway: c.config})
			first := w.greeted("/connect/demo-1")
			w.greeted("/connect/demo-2")
			w.connect("/connect/demo-3").refusedWith(c.status, c.reason)
			for i, want := range map[int]mqtt.Code{1: mqtt.ServerUnavailable, 2: mqtt.QuotaExceeded} {
				m := &mqttWorld{w, ways[2*i-1]}
				if _, answer := m.connectAs(opening("demo-4")); answer.Reason != want {
					t.Errorf("%v: CONNACK %s, want %v", m.way, show(answer), want)
				}
			}
			if got := w.metric("longline_connections_refused_total/" + c.label); got != 3 {
				t.Errorf("%v refusals are counted, want 3", got)
			}
			_ = first.ws.CloseNow()
			w.await("room for a third", func() bool { return w.connect("/connect/demo-3").status == "" })
		})
	}
}

// A client of MQTT that leaves makes room too.
func TestMQTTClientsMakeRoom(t *testing.T) {
	eachWay(t, ways[2:4], settings{gateway: Config{MaxConnections: 1}}, func(w *mqttWorld) {
		for _, device := range []string{"demo-1", "demo-2"} {
			w.await("room", func() bool {
				p, answer := w.connectAs(opening(device))
				_ = p.conn.Close()
				return answer.Reason == mqtt.Success
			})
		}
	})
}

func limits(c limit.CountConfig) limit.Config { return limit.Config{Connections: c} }

// A device is not shut out by its own connection: the new one takes the place of the old one
// under the prefix, once.
func TestPrefixLimitAtTakeover(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Limits: limits(limit.CountConfig{PerPrefix: []string{"demo-=1"}})}})
	w.greeted("/connect/demo-1")
	for _, target := range []string{"/connect/demo-1", "/connect/demo-1?clean=true"} {
		w.greeted(target)
	}
	w.connect("/connect/demo-2").refusedWith(429, "prefix")
	if !w.sessions.Disconnect("demo-1", wire.CloseKicked) {
		t.Fatal("it is not there")
	}
	w.await("room under the prefix", func() bool { return w.connect("/connect/demo-2").status == "" })
	w.connect("/connect/demo-3").refusedWith(429, "prefix")
}

// Where no limit has to remember anything of a connection, nothing is remembered.
func TestLimitsRememberNothingUnasked(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Loops: 1}})
	w.greeted("/connect/a").quiet()
	for _, l := range w.gateway.group.Loops() {
		if n := l.Local.(*shard).door.Remembered(); n > 0 {
			t.Errorf("%d guests", n)
		}
	}
}

// Who waited in the line is not remembered when it is in.
func TestLineRemembersNobody(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Loops: 1, Limits: limit.Config{Connect: limit.RateConfig{PerSecond: 20, Burst: 1}}}})
	for _, device := range []string{"a", "b", "c"} {
		w.greeted("/connect/" + device).quiet()
	}
	if w.metric("longline_connect_turns_total/late") == 0 {
		t.Fatal("nobody waited")
	}
	w.gateway.group.Each(func(l *reactor.Loop) {
		if n := l.Local.(*shard).door.Remembered(); n > 0 {
			t.Errorf("%d guests", n)
		}
	})
}

// Connections above the rate wait for their turn, resumed sessions first. Beyond the line, and
// when the turn does not come in time, they are told when to come back.
func TestConnectRate(t *testing.T) {
	const line = 10 // new devices in it; as many places are kept for resumed ones
	c := Config{
		HandshakeTimeout: 4 * time.Second,
		Limits:           limit.Config{Connect: limit.RateConfig{PerSecond: 1, Burst: 1, Line: 2 * line}},
	}
	c.MQTT.Listen = "127.0.0.1:0"
	w := newWorld(t, settings{gateway: c})
	_ = w.greeted("/connect/known").ws.CloseNow()
	w.awaitPresence("known", false)
	waiting := func() int { return w.gateway.door.Stats().Line.Waiting[limit.New] }
	answers := make(chan answer, 2*line)
	asked := 0
	for i := 0; waiting() < line; i++ { // one may get a turn meanwhile
		asked++
		conn, before := w.dial(), waiting()
		go func() { answers <- ask(t, conn, upgrade(fmt.Sprintf("/connect/new-%d", i))) }()
		w.await("a place in the line", func() bool { return waiting() != before })
	}
	w.connect("/connect/another").refusedWith(503, "Too many devices connect at once")
	for i, want := range map[int]mqtt.Code{1: mqtt.ServerUnavailable, 2: mqtt.ConnectionRateExceeded} {
		m := &mqttWorld{w, ways[2*i-1]}
		if _, answer := m.connectAs(opening("another")); answer.Reason != want {
			t.Errorf("%v: CONNACK %s, want %v", m.way, show(answer), want)
		}
	}
	w.greeted("/connect/known")
	if waiting() < line/2 {
		t.Errorf("%d new devices wait: the resumed one came behind them", waiting())
	}
	late := 0
	for range asked {
		a := <-answers
		if a.status != 503 {
			continue
		}
		if late++; !strings.Contains(a.body, "did not come in time") || a.header.Get("Retry-After") == "" {
			t.Errorf("%+v", a)
		}
	}
	if late == 0 {
		t.Error("each of them got its turn")
	}
	if w.metric("longline_connections_refused_total/connect_rate") != 3 || w.metric("longline_connect_turns_total/late") == 0 {
		t.Error("refusals and turns are not counted")
	}
}

// A header before the handshake says who is behind the proxy.
func TestProxyProtocolOnEveryPort(t *testing.T) {
	c := Config{Proxies: Proxies{Protocol: []string{"127.0.0.0/8"}}, Limits: limits(limit.CountConfig{PerAddress: 1})}
	c.MQTT.Listen = "127.0.0.1:0"
	w := newWorld(t, settings{gateway: c})
	header := func(source string) string { return "PROXY TCP4 " + source + " 10.0.0.1 4711 443\r\n" }
	for _, device := range []string{"a", "b"} {
		conn := w.dial()
		if got := ask(t, conn, header("203.0.113."+strconv.Itoa(int(device[0])))+upgrade("/connect/"+device)); got.status != 101 {
			t.Fatalf("%+v", got)
		}
	}
	if got := ask(t, w.dial(), header("203.0.113.97")+upgrade("/connect/c")); got.status != 429 {
		t.Errorf("a second connection of an address: %+v", got)
	}
	if peer := w.peer("a"); peer.Addr.String() != "203.0.113.97:4711" {
		t.Errorf("the peer is %v", peer)
	}
	m := &mqttWorld{w, way{mqtt.V5, "tcp"}}
	for source, want := range map[string]mqtt.Code{"203.0.113.97": mqtt.QuotaExceeded, "203.0.113.99": mqtt.Success} {
		p := m.dial()
		p.write([]byte(header(source)))
		p.say(opening("d"))
		if got := p.take(mqtt.Connack); got.Reason != want {
			t.Errorf("%s: %v, want %v", source, got.Reason, want)
		}
	}
	direct := w.dial()
	if _, err := io.WriteString(direct, upgrade("/connect/e")); err != nil {
		t.Fatal(err)
	}
	if n, _ := direct.Read(make([]byte, 1)); n > 0 {
		t.Error("a connection without a header was answered")
	}
}

// X-Forwarded-For is believed from the proxies named, and from nobody else.
func TestForwardedFor(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		c := Config{Limits: limits(limit.CountConfig{PerAddress: 1})}
		if trusted {
			c.Proxies.Forwarded = []string{"127.0.0.1"}
		}
		w := newWorld(t, settings{gateway: c})
		from := func(source, device string) *peer {
			return w.connectWith(http.Header{"X-Forwarded-For": {"192.0.2.1, " + source}}, "/connect/"+device)
		}
		if p := from("203.0.113.9", "a"); p.status != "" {
			t.Fatal(p.status)
		}
		from("203.0.113.9", "b").refusedWith(429, "address")
		if got := from("203.0.113.10", "c").status == ""; got != trusted {
			t.Errorf("trusted %v: another address got in: %v", trusted, got)
		}
	}
}

// The places of resumed sessions are for those whose credentials show that the session is theirs, not for whoever names
// a device.
func TestResumedIsProven(t *testing.T) {
	sum := sha256.Sum256([]byte("right"))
	chain, err := auth.Open(auth.Config{Order: []string{"tokens"}, Tokens: auth.Tokens{File: file(t, "known sha256:"+hex.EncodeToString(sum[:])+"\n")}}, new(reload.Watcher))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)
	w := newWorld(t, settings{secure: true, gateway: Config{Auth: chain, Limits: limit.Config{Connect: limit.RateConfig{PerSecond: 1, Burst: 1, Line: 10}}}})
	if got := w.connectWith(bearerHeader("right"), "/connect/known").greeted(); got != "hello" {
		t.Fatal(got)
	}
	waiting := func(c limit.Class) int { return w.gateway.door.Stats().Line.Waiting[c] }
	for waiting(limit.New) == 0 {
		begin(t, w.dial(), upgrade("/connect/known", "Authorization: Bearer wrong"))
		if waiting(limit.Resumed) > 0 {
			t.Fatal("who names a device has its place")
		}
	}
	for w.metric("longline_connect_line/resumed") == 0 && w.metric("longline_connect_turns_total/late") < 3 {
		begin(t, w.dial(), upgrade("/connect/known", "Authorization: Bearer right"))
	}
	if waiting(limit.New) == 0 {
		t.Error("the resumed one came behind those that only named it")
	}
}
