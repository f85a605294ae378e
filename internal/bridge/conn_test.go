package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/bridge/bridgetest"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/wire/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, c bridge.Config) *bridge.Broker {
	t.Helper()
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	b, err := bridge.Open(c, new(reload.Watcher), noLog)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type connected struct {
	conn *bridge.Conn
	err  error
}

// connect connects while the test plays the broker.
func connect(t *testing.T, b *bridge.Broker, s bridge.Session) <-chan connected {
	t.Helper()
	c := make(chan connected, 1)
	go func() {
		conn, err := b.Connect(t.Context(), s)
		c <- connected{conn, err}
	}()
	return c
}

// join returns a connection and the broker's side of it.
func join(t *testing.T, c bridge.Config, s bridge.Session, connack mqtt.Packet) (*bridge.Conn, *bridgetest.Peer) {
	t.Helper()
	server := bridgetest.Start(t)
	c.URL = server.URL()
	b := open(t, c)
	joined := connect(t, b, s)
	peer := server.Welcome(b.Version(), connack)
	got := <-joined
	if got.err != nil {
		t.Fatal(got.err)
	}
	t.Cleanup(got.conn.Close)
	return got.conn, peer
}

// publish publishes these payloads, and returns a channel that gets their results.
func publish(ctx context.Context, c *bridge.Conn, payloads ...string) <-chan []error {
	results := make(chan []error, 1)
	go func() {
		results <- c.Publish(ctx, len(payloads), func(i int, p *mqtt.Packet) { p.Topic, p.Payload = "a/b", []byte(payloads[i]) })
	}()
	return results
}

// soon returns what comes on c.
func soon[V any](t *testing.T, c <-chan V) V {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing comes")
		panic("unreachable")
	}
}

func TestHello(t *testing.T) {
	for _, test := range []struct {
		version string
		session bridge.Session
		want    string
	}{
		{"5", bridge.Session{ClientID: "a"}, "5 a clean=true expiry=0 unanswered=0 user pass"},
		{"5", bridge.Session{ClientID: "a", Kept: true, Expiry: time.Hour, Unanswered: 7}, "5 a clean=false expiry=3600 unanswered=7 user pass"},
		{"3.1.1", bridge.Session{ClientID: "b", Kept: true, Expiry: time.Hour}, "4 b clean=false expiry=0 unanswered=0 user pass"},
	} {
		server := bridgetest.Start(t)
		b := open(t, bridge.Config{URL: server.URL(), Version: test.version, Username: "user", Password: setting.NewSecret("pass")})
		joined := connect(t, b, test.session)
		peer, p := server.Accept(b.Version())
		got := fmt.Sprintf("%d %s clean=%t expiry=%d unanswered=%d %s %s", p.Connect.Version, p.Connect.ClientID, p.Connect.Clean,
			p.Properties.SessionExpiry, p.Properties.ReceiveMaximum, p.Connect.Username, p.Connect.Password)
		if got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
		peer.Send(mqtt.Packet{Type: mqtt.Connack, SessionPresent: test.session.Kept})
		c := soon(t, joined)
		if c.err != nil || c.conn.Resumed != test.session.Kept {
			t.Fatalf("%+v", c)
		}
		c.conn.Close()
		if last := peer.Ended(); len(last) != 1 || last[0] != mqtt.Disconnect {
			t.Errorf("at the end came %v", last)
		}
	}
}

// A broker of 3.1.1 that does not know bridges gets a client, and one that does is never asked again.
func TestBridgeBit(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(*bridgetest.Peer)
		then   byte // the level of the next CONNECT
	}{
		{"refuses the version", func(p *bridgetest.Peer) {
			p.Send(mqtt.Packet{Type: mqtt.Connack, Reason: mqtt.UnsupportedProtocolVersion})
		}, 4},
		{"closes", (*bridgetest.Peer).Cut, 4},
		{"refuses the password", func(p *bridgetest.Peer) {
			p.Send(mqtt.Packet{Type: mqtt.Connack, Reason: mqtt.BadUsernameOrPassword})
		}, 0x84},
		{"accepts and closes", func(p *bridgetest.Peer) {
			p.Send(mqtt.Packet{Type: mqtt.Connack})
			p.Cut()
		}, 0x84},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := bridgetest.Start(t)
			b := open(t, bridge.Config{URL: server.URL(), Version: "3.1.1"})
			for _, want := range []byte{0x84, test.then} {
				joined := connect(t, b, bridge.Session{ClientID: "a"})
				peer, _ := server.Accept(mqtt.V4)
				if peer.Level != want {
					t.Errorf("level %#x, want %#x", peer.Level, want)
				}
				test.answer(peer)
				if c := soon(t, joined); c.err == nil {
					c.conn.Close()
				} else if bridge.ForGood(c.err) != (test.name == "refuses the password") && want == 0x84 {
					t.Error(c.err)
				}
			}
		})
	}
}

func TestPublish(t *testing.T) {
	c, peer := join(t, bridge.Config{}, bridge.Session{ClientID: "a"}, mqtt.Packet{Properties: mqtt.Properties{ReceiveMaximum: 2}})
	results := publish(t.Context(), c, "1", "2", "3", "4")
	for i, code := range []mqtt.Code{mqtt.Success, mqtt.NotAuthorized, mqtt.NoMatchingSubscribers} {
		p := peer.Expect(mqtt.Publish)
		if want := fmt.Sprint(i + 1); string(p.Payload) != want || p.QoS != message.AtLeastOnce || p.Topic != "a/b" {
			t.Errorf("%+v, want %s", p, want)
		}
		peer.Acknowledge(p.ID, code)
	}
	last := peer.Expect(mqtt.Publish)
	peer.Cut()
	got := soon(t, results)
	if got[0] != nil || got[2] != nil || string(last.Payload) != "4" {
		t.Errorf("%v", got)
	}
	if rejected, ok := errors.AsType[*bridge.Rejected](got[1]); !ok || rejected.Code != mqtt.NotAuthorized {
		t.Errorf("what the broker rejects: %v", got[1])
	}
	if got[3] == nil || !errors.Is(got[3], io.EOF) {
		t.Errorf("what was not answered: %v", got[3])
	}
	if got = soon(t, publish(t.Context(), c, "5")); got[0] == nil {
		t.Error("a connection that has ended takes a publication")
	}
}

// The broker says how many publications it takes at a time: no more of them are sent.
func TestReceiveMaximum(t *testing.T) {
	c, peer := join(t, bridge.Config{}, bridge.Session{ClientID: "a"}, mqtt.Packet{Properties: mqtt.Properties{ReceiveMaximum: 3}})
	one, two := publish(t.Context(), c, strings.Split(strings.Repeat("x", 20), "")...), publish(t.Context(), c, strings.Split(strings.Repeat("y", 20), "")...)
	open := make(map[uint16]bool)
	for range 40 {
		p := peer.Expect(mqtt.Publish)
		if open[p.ID] {
			t.Fatalf("identifier %d is used twice", p.ID)
		}
		if open[p.ID] = true; len(open) > 3 {
			t.Fatalf("%d are open", len(open))
		}
		if len(open) == 3 {
			for id := range open {
				peer.Acknowledge(id, mqtt.Success)
				delete(open, id)
				break
			}
		}
	}
	for id := range open {
		peer.Acknowledge(id, mqtt.Success)
	}
	for _, results := range [][]error{soon(t, one), soon(t, two)} {
		if err := errors.Join(results...); err != nil {
			t.Error(err)
		}
	}
}

// What cannot be encoded, or is larger than the broker takes, is refused alone.
func TestUnsendable(t *testing.T) {
	c, peer := join(t, bridge.Config{}, bridge.Session{ClientID: "a"}, mqtt.Packet{Properties: mqtt.Properties{MaximumPacket: 100}})
	topics := []string{"a", "a\x00b", "c"}
	payloads := [][]byte{nil, nil, make([]byte, 200)}
	answer := make(chan []error, 1)
	go func() {
		answer <- c.Publish(t.Context(), 3, func(i int, p *mqtt.Packet) { p.Topic, p.Payload = topics[i], payloads[i] })
	}()
	peer.Acknowledge(peer.Expect(mqtt.Publish).ID, mqtt.Success)
	results := soon(t, answer)
	if results[0] != nil || !errors.Is(results[1], mqtt.ErrNull) {
		t.Errorf("%v", results)
	}
	if large, ok := errors.AsType[*bridge.TooLarge](results[2]); !ok || large.Most != 100 {
		t.Errorf("%v", results[2])
	}
	peer2 := publish(t.Context(), c, "next")
	peer.Acknowledge(peer.Expect(mqtt.Publish).ID, mqtt.Success)
	if err := soon(t, peer2)[0]; err != nil {
		t.Error(err)
	}
}

func TestSendingEndsWithItsContext(t *testing.T) {
	c, peer := join(t, bridge.Config{}, bridge.Session{ClientID: "a"}, mqtt.Packet{Properties: mqtt.Properties{ReceiveMaximum: 1}})
	ctx, cancel := context.WithCancel(t.Context())
	results := publish(ctx, c, "1", "2")
	p := peer.Expect(mqtt.Publish)
	cancel()
	for _, err := range soon(t, results) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	peer.Acknowledge(p.ID, mqtt.Success) // too late for the first call, and the identifier is free again
	results = publish(t.Context(), c, "3")
	peer.Acknowledge(peer.Expect(mqtt.Publish).ID, mqtt.Success)
	if err := soon(t, results)[0]; err != nil {
		t.Error(err)
	}
}

// A broker that takes publications and acknowledges none is given up, also if it answers pings.
func TestNoAcknowledgement(t *testing.T) {
	c, peer := join(t, bridge.Config{Timeout: 300 * time.Millisecond, KeepAlive: time.Second}, bridge.Session{ClientID: "a"}, mqtt.Packet{})
	results := publish(t.Context(), c, "1")
	peer.Expect(mqtt.Publish)
	peer.Ended()
	if err := soon(t, results)[0]; err == nil || !strings.Contains(err.Error(), "acknowledged none") {
		t.Error(err)
	}
}

// A broker that is silent is asked, and given up. One that answers stays.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	c, peer := join(t, bridge.Config{KeepAlive: time.Second}, bridge.Session{ClientID: "a"}, mqtt.Packet{})
	for range 3 {
		if p := peer.Next(); p.Type != mqtt.Pingreq {
			t.Fatal(p.Type)
		}
		peer.Send(mqtt.Packet{Type: mqtt.Pingresp})
	}
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	soon(t, c.Done())
	if err := c.Err(); !strings.Contains(err.Error(), "silent") {
		t.Error(err)
	}
}

// The broker sets the keep alive, MQTT 5 §3.2.2.3.14.
func TestServerKeepAlive(t *testing.T) {
	t.Parallel()
	c, peer := join(t, bridge.Config{KeepAlive: time.Hour}, bridge.Session{ClientID: "a"}, mqtt.Packet{Properties: mqtt.Properties{ServerKeepAlive: 1}})
	if p := peer.Next(); p.Type != mqtt.Pingreq {
		t.Fatal(p.Type)
	}
	soon(t, c.Done())
}

// While OnPublish waits, pings go out, and their answers, which nobody reads, are not missed.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	waits, got := make(chan struct{}), make(chan string, 10)
	s := bridge.Session{ClientID: "a", Unanswered: 10, OnPublish: func(c *bridge.Conn, p *mqtt.Packet) {
		got <- string(p.Payload)
		if string(p.Payload) == "1" {
			<-waits
		}
		c.Acknowledge(p.ID)
	}}
	c, peer := join(t, bridge.Config{KeepAlive: time.Second}, s, mqtt.Packet{})
	peer.Publish(1, "a", "1")
	peer.Publish(2, "a", "2")
	if first := soon(t, got); first != "1" {
		t.Error(first)
	}
	for range 6 { // longer than it takes to give up a silent broker
		if p := peer.Next(); p.Type != mqtt.Pingreq {
			t.Fatal(p.Type)
		}
	}
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	close(waits)
	for id := uint16(1); id <= 2; id++ {
		if p := peer.Expect(mqtt.Puback); p.ID != id {
			t.Errorf("%d is acknowledged, not %d", p.ID, id)
		}
	}
}

// Packets come in any pieces, and those that are too large are passed over.
func TestReading(t *testing.T) {
	for _, version := range []string{"5", "3.1.1"} {
		got, over := make(chan string, 100), make(chan int, 1)
		s := bridge.Session{
			ClientID: "a", Unanswered: 10,
			OnOversized: func(c *bridge.Conn, o mqtt.Oversized) {
				over <- o.Size
				c.Acknowledge(o.ID)
			},
			OnPublish: func(_ *bridge.Conn, p *mqtt.Packet) {
				got <- fmt.Sprintf("%s %d %t", p.Topic, len(p.Payload), p.Retain)
			},
		}
		c, peer := join(t, bridge.Config{Version: version, MaxPacket: 40 << 10}, s, mqtt.Packet{})
		send := func(id uint16, size int) {
			peer.Pieces(mqtt.Packet{Type: mqtt.Publish, ID: id, QoS: 1, Retain: true, Topic: "t", Payload: make([]byte, size)}, 1000)
		}
		send(1, 5)
		send(2, 100_000)
		if p := peer.Expect(mqtt.Puback); p.ID != 2 {
			t.Errorf("%d is acknowledged", p.ID)
		}
		send(3, 39<<10)
		send(4, 0)
		for _, want := range []string{"t 5 true", "t 39936 true", "t 0 true"} {
			if s := soon(t, got); s != want {
				t.Errorf("%s, want %s", s, want)
			}
		}
		if size := soon(t, over); size < 100_000 {
			t.Error(size)
		}
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	}
}

// A broker sends large publications in place of CONNACK. Nobody takes them yet, and the connection is not waited for.
func TestOversizedBeforeConnack(t *testing.T) {
	server := bridgetest.Start(t)
	b := open(t, bridge.Config{URL: server.URL(), MaxPacket: 1 << 10})
	joined := connect(t, b, bridge.Session{ClientID: "a", Unanswered: 10, OnOversized: func(*bridge.Conn, mqtt.Oversized) { select {} }})
	peer, _ := server.Accept(mqtt.V5)
	peer.Send(mqtt.Packet{Type: mqtt.Publish, ID: 1, QoS: 1, Topic: "t", Payload: make([]byte, 2<<10)})
	if got := soon(t, joined); got.err == nil {
		t.Error("it is connected")
	}
}

// A refused URL may have a password, which is not for the log.
func TestURLWithPassword(t *testing.T) {
	err := bridge.Config{URL: "tcp://user:secret@broker.example.com"}.WithDefaults().Validate()
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "broker.example.com") {
		t.Error(err)
	}
}

func TestSubscribe(t *testing.T) {
	s := bridge.Session{ClientID: "a", Unanswered: 10, OnPublish: func(*bridge.Conn, *mqtt.Packet) {}}
	c, peer := join(t, bridge.Config{}, s, mqtt.Packet{})
	for _, test := range []struct {
		codes []mqtt.Code
		want  string
	}{
		{[]mqtt.Code{1, 1}, ""},
		{[]mqtt.Code{1, mqtt.NotAuthorized}, "not authorized"},
		{[]mqtt.Code{1, 0}, "QoS 1"},
		{[]mqtt.Code{1}, "another number"},
	} {
		answer := make(chan error, 1)
		go func() {
			answer <- c.Subscribe(t.Context(), []mqtt.Subscription{{Filter: "a", QoS: 1}, {Filter: "b", QoS: 1}})
		}()
		peer.Send(mqtt.Packet{Type: mqtt.Suback, ID: peer.Expect(mqtt.Subscribe).ID, Codes: test.codes})
		if err := soon(t, answer); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v", test.codes, err)
		}
	}
}

// What the broker may not send ends the connection.
func TestWrongPackets(t *testing.T) {
	for _, p := range []mqtt.Packet{
		{Type: mqtt.Puback, ID: 1},
		{Type: mqtt.Puback, ID: 65535},
		{Type: mqtt.Suback, ID: 65535, Codes: []mqtt.Code{1}},
		{Type: mqtt.Unsuback, ID: 1, Codes: []mqtt.Code{0}},
		{Type: mqtt.Publish, ID: 1, QoS: 1, Topic: "a"},
		{Type: mqtt.Publish, ID: 1, QoS: 2, Topic: "a"},
		{Type: mqtt.Connack},
		{Type: mqtt.Disconnect, Reason: mqtt.SessionTakenOver},
	} {
		c, peer := join(t, bridge.Config{}, bridge.Session{ClientID: "a"}, mqtt.Packet{})
		peer.Send(p)
		soon(t, c.Done())
		if err := c.Err(); err == nil || bridge.ForGood(err) {
			t.Errorf("%s: %v", p.Type, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for code, forGood := range map[mqtt.Code]bool{
		mqtt.BadUsernameOrPassword: true, mqtt.NotAuthorized: true, mqtt.ServerUnavailable: false, mqtt.ServerBusy: false, mqtt.QuotaExceeded: false,
	} {
		server := bridgetest.Start(t)
		joined := connect(t, open(t, bridge.Config{URL: server.URL()}), bridge.Session{ClientID: "a"})
		server.Welcome(mqtt.V5, mqtt.Packet{Reason: code})
		if err := soon(t, joined).err; err == nil || bridge.ForGood(err) != forGood {
			t.Errorf("%s: %v", code, err)
		}
	}
	// It takes connections, and says nothing.
	server := bridgetest.Start(t)
	joined := connect(t, open(t, bridge.Config{URL: server.URL(), Timeout: 50 * time.Millisecond}), bridge.Session{ClientID: "a"})
	if err := soon(t, joined).err; err == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
}
