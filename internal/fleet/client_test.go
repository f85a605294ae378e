package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// A Client must be small: a fleet may have a million.
func TestClientIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Client{}); size > 96 {
		t.Errorf("a Client has %d bytes", size)
	}
}

// A device answers what the gateway sends.
func TestClientAnswers(t *testing.T) {
	for _, protocol := range []string{"json", "protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var got []string // of one connection, on its loop
			answer := func(s string) {
				if got = append(got, s); len(got) == 4 {
					cancel()
				}
			}
			g := newGateway(t, script{
				hello: func(p *peer) {
					m := &wire.Packet{Op: wire.Msg, ID: 7}
					m.Message.Topic, m.Message.QoS = "a", message.AtLeastOnce
					p.send(m)
					m.ID, m.Message.QoS = 0, message.AtMostOnce
					p.send(m)
					p.send(&wire.Packet{Op: wire.Call, ID: 8, Method: "x", Payload: []byte(`[1,2]`), ContentType: message.JSON})
					p.conn.Write(websocket.AppendFrame(nil, websocket.Ping, []byte("p")))
				},
				other: func(_ *peer, packet *wire.Packet) {
					switch packet.Op {
					case wire.Sub:
						answer("sub " + strings.Join(packet.Filters, " "))
					case wire.Ack:
						answer("ack " + string(rune('0'+packet.ID)))
					case wire.Reply:
						answer("reply " + string(packet.Payload) + " " + packet.ContentType)
					}
				},
				pong: func(*peer) { answer("pong") },
			})
			report, err := g.runUntil(ctx, Config{
				Protocol:  protocol,
				Token:     "secret",
				Subscribe: []string{"all", "device/{device}/#"},
			})
			if err != nil || ctx.Err() != context.Canceled {
				t.Fatal(err, ctx.Err(), got)
			}
			g.group.Close() // after which nothing appends to got
			want := []string{"sub all device/fleet-0/#", "ack 7", "reply [1,2] application/json", "pong"}
			if !slices.Equal(got, want) {
				t.Errorf("answers: %q, want %q", got, want)
			}
			if report.Received != 2 || report.Calls != 1 {
				t.Errorf("report: %+v", report)
			}
			if g.upgrades[0] != "Bearer secret" {
				t.Errorf("Authorization: %q", g.upgrades[0])
			}
		})
	}
}

// connections runs one idle device until it has connected n times, and returns the times.
func connections(t *testing.T, n int, config Config, s script) (at []time.Time, report Report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	hello := s.hello
	s.hello = func(p *peer) {
		if at = append(at, time.Now()); len(at) == n {
			cancel()
			return
		}
		if hello != nil {
			hello(p)
		}
	}
	g := newGateway(t, s)
	report, err := g.runUntil(ctx, config)
	g.group.Close()
	if err != nil || len(at) < n {
		t.Fatalf("%d connections, want %d (%v); report: %+v", len(at), n, err, report)
	}
	return at, report
}

// A device gives up a gateway that sends nothing for twice its heartbeat, not even an answer to a ping.
func TestClientLeavesSilentGateway(t *testing.T) {
	at, report := connections(t, 2, Config{}, script{heartbeat: time.Second, deaf: true})
	if held := at[1].Sub(at[0]); held < 1900*time.Millisecond {
		t.Errorf("gave up after %v, want 2 s", held)
	}
	if report.Reconnects != 1 || report.Reasons["the gateway was silent for too long"] != 1 {
		t.Errorf("report: %+v", report)
	}
}

// A device keeps the connection to a gateway that answers pings.
func TestClientStaysWithQuietGateway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	report, err := newGateway(t, script{heartbeat: time.Second}).runUntil(ctx, Config{})
	if err != nil || report.Dials != 1 || report.Connected != 1 {
		t.Errorf("%v, report: %+v", err, report)
	}
}

func TestClientWaitsAsAsked(t *testing.T) {
	const asked = 300 * time.Millisecond
	at, report := connections(t, 2, Config{}, script{hello: func(p *peer) { p.close(4004, "drained; retry after 300ms") }})
	if away := at[1].Sub(at[0]); away < asked {
		t.Errorf("came back after %v, want %v at least", away, asked)
	}
	if report.Reasons["closed by the gateway: 4004 drained; retry after 300ms"] != 1 {
		t.Errorf("reasons: %v", report.Reasons)
	}
}

func TestClientRetryAfter(t *testing.T) {
	began := time.Now()
	at, report := connections(t, 1, Config{}, script{refuse: func(attempt int) *websocket.HTTPError {
		if attempt > 1 {
			return nil
		}
		return &websocket.HTTPError{Status: 503, Reason: "later", Header: []websocket.Field{{Name: "Retry-After", Value: "1"}}}
	}})
	if away := at[0].Sub(began); away < time.Second {
		t.Errorf("came back after %v, want 1 s at least", away)
	}
	if report.Dials != 2 || report.Reconnects != 0 {
		t.Errorf("report: %+v", report)
	}
}

func TestFleetGivesUp(t *testing.T) {
	refused := script{refuse: func(int) *websocket.HTTPError { return &websocket.HTTPError{Status: 401, Reason: "who?"} }}
	for _, tt := range []struct {
		name   string
		script script
		want   string
	}{
		{"refused", refused, "every device gave up: websocket: handshake failed: Unauthorized (status 401)"},
		{"not greeted", script{mute: true}, "every device gave up: the gateway did not greet in time"},
		{"broken", script{hello: func(p *peer) { p.conn.Write([]byte{0xFF, 0}) }},
			"every device gave up: the gateway broke the protocol: websocket: reserved bits are set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			report, err := newGateway(t, tt.script).run(Config{
				Synthetic:      Synthetic{Devices: 3, Rate: 1},
				Reconnect:      Backoff{MaxTries: 2},
				ConnectTimeout: 100 * time.Millisecond,
			})
			if !errors.Is(err, errGaveUp) || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if report.GaveUp != 3 || report.Dials != 9 || report.Complete() {
				t.Errorf("report: %+v", report)
			}
		})
	}
}

func TestFleetWithoutGateway(t *testing.T) {
	g := newGateway(t, script{})
	addr := g.group.Addr().String()
	g.group.Close()
	_, err := Run(t.Context(), Config{Gateway: "ws://" + addr, Reconnect: Backoff{Min: 1, MaxTries: 1}}, nil)
	if err == nil || err.Error() != "every device gave up: connect: connection refused" {
		t.Errorf("error %v", err)
	}
}

func TestBadConfig(t *testing.T) {
	for _, tt := range []struct {
		config Config
		want   string
	}{
		{Config{Protocol: "mqtt"}, `protocol "mqtt": want json or protobuf`},
		{Config{Gateway: "wss://127.0.0.1", CA: "/no/such"}, "/no/such: no such file"},
		{Config{CA: "x"}, "is for a gateway of wss://"},
		{Config{Gateway: "127.0.0.1:80"}, `gateway: parse "127.0.0.1:80"`},
		{Config{Gateway: "ftp://a"}, `gateway "ftp://a": want a URL such as`},
		{Config{Gateway: "ws://127.0.0.1:1/?a b"}, `gateway: the query of "ws://127.0.0.1:1/connect?a b" is not percent-encoded`},
		{Config{Gateway: "ws:///x"}, `gateway "ws:///x" names no host`},
		{Config{Source: "x"}, `source "x": want an IPv4 address`},
		{Config{Synthetic: Synthetic{Devices: -1}}, "-1 devices: want 1 to 10000000"},
		{Config{Synthetic: Synthetic{Rate: -1}}, "rate -1: want 0 to"},
		{Config{Synthetic: Synthetic{QoS: 2}}, "QoS 2: want 0 or 1"},
		{Config{Synthetic: Synthetic{Payload: -1}}, "payload of -1 bytes"},
		{Config{Synthetic: Synthetic{Prefix: "a/b"}}, `prefix "a/b": device id`},
		{Config{Window: -1}, "cannot be negative"},
		{Config{Replay: Replay{Files: []string{"x"}}}, "needs the name of the time column"},
		{Config{Replay: Replay{Files: []string{"x"}, TimeColumn: "t"}}, "one of id column, id, or the file's name"},
		{Config{Replay: Replay{Files: []string{"-"}, TimeColumn: "t", FileIsID: true}}, "standard input has no name"},
		{Config{Replay: Replay{Files: []string{"x"}, IDColumn: "a", TimeColumn: "a"}}, `column "a" cannot be both`},
		{Config{Replay: Replay{Files: []string{"x"}, IDColumn: "a", TimeColumn: "b", Speed: -1}}, "speed -1: want a positive number"},
		{Config{Replay: Replay{Files: []string{"x"}, IDColumn: "a", TimeColumn: "b", Delimiter: ";;"}}, `delimiter ";;": want one character`},
		{Config{Replay: Replay{Files: []string{"x"}, IDColumn: "a", TimeColumn: "b", TimeFormat: "iso"}}, `time format "iso": want rfc3339`},
		{Config{Replay: Replay{Files: []string{"/no/such"}, IDColumn: "a", TimeColumn: "b"}}, "/no/such: no such file"},
	} {
		if tt.config.Gateway == "" {
			tt.config.Gateway = "ws://127.0.0.1:1"
		}
		if _, err := Run(t.Context(), tt.config, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}
