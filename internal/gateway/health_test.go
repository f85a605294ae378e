package gateway

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
)

// A balancer asks on the device port, as it can.
func TestHealthOnTheDevicePort(t *testing.T) {
	w := newWorld(t, settings{})
	question := func(line string) (status int, body string) {
		t.Helper()
		c := w.dial()
		if _, err := io.WriteString(c, line[:3]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, line[3:]); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(c) // the connection ends
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(string(all), "\r\n")
		_, body, _ = strings.Cut(rest, "\r\n\r\n")
		switch first {
		case "HTTP/1.1 200 OK":
			return 200, body
		case "HTTP/1.1 503 Service Unavailable":
			return 503, body
		}
		return 0, first
	}
	for _, tt := range []struct{ ask, want string }{
		{"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "ok\n"},
		{"GET /healthz HTTP/1.0\r\n\r\n", "ok\n"},
		{"GET /healthz?x HTTP/1.1\r\nHost: a\r\n\r\n", "ok\n"},
		{"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n", ""},
		{"GET //healthz/ HTTP/1.1\r\nHost: a\r\n\r\n", "ok\n"},
		{"GET http://a/healthz HTTP/1.1\r\nHost: a\r\n\r\n", "ok\n"},
		{"GET /healthz HTTP/1.0\n\n", "ok\n"},
		{"GET /healthz HTTP/1.0\nUser-Agent: nc\n\n", "ok\n"},
	} {
		if status, body := question(tt.ask); status != 200 || body != tt.want {
			t.Errorf("%q: %d %q", tt.ask, status, body)
		}
	}
	if status, body := question("GET /health HTTP/1.1\r\nHost: a\r\n\r\n"); status == 200 || !strings.Contains(body, "426") {
		t.Errorf("another path: %d %q", status, body)
	}
	if err := w.gateway.Drain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if status, body := question("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"); status != 503 || !strings.Contains(body, "draining") {
		t.Errorf("a drained node: %d %q", status, body)
	}
}

// Devices come in at the paths that they have, with the names that they have.
func TestPaths(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Paths: []string{"/ocpp/", "/ocpp/v16", "/old/connect"}, RawProtocols: []string{"ocpp1.6"}}})
	for target, device := range map[string]string{
		"/connect/a":                             "a",
		"//connect//a/":                          "a",
		"/connect?device=a":                      "a",
		"/connect/?device=a":                     "a",
		"http://example.com/ocpp/a":              "a",
		"/ocpp/RDAM%7C123":                       "x:RDAM:7C123",
		"/ocpp/CP%2001":                          "x:CP:2001",
		"/ocpp/CP%2F01":                          "x:CP:2F01",
		"/ocpp/Z%C3%BCrich":                      "x:Z:C3:BCrich",
		"/old/connect/CP@1":                      "x:CP:401",
		"/connect?device=RDAM%7C123":             "x:RDAM:7C123",
		"/connect?device=CP+01%2B":               "x:CP:2001:2B",
		"/ocpp/v16/b":                            "b",
		"/connect/a/b":                           "x:a:2Fb",
		"/connect/CP+01":                         "x:CP:2B01",
		"/connect/x:RDAM:7C123":                  "x:x:3ARDAM:3A7C123",
		"/connect/" + strings.Repeat("%20", 128): "x:" + strings.Repeat(":20", 128),
	} {
		got := ask(t, w.dial(), upgrade(target))
		if got.status != http.StatusSwitchingProtocols {
			t.Errorf("%s: %d %s", target, got.status, got.body)
			continue
		}
		if _, ok := w.sessions.Get(device); !ok {
			t.Errorf("%s is not the device %s", target, device)
		}
	}
	for target, want := range map[string]string{
		"/elsewhere/a":                         "404",
		"/ocppx/a":                             "404",
		"/connect/" + strings.Repeat("d", 129): "400",
	} {
		if got := ask(t, w.dial(), upgrade(target)); strconv.Itoa(got.status) != want {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	if got := ask(t, w.dial(), upgrade("/elsewhere")); !strings.Contains(got.body, "/ocpp/{device}") || !strings.Contains(got.body, "/mqtt") {
		t.Errorf("what would work is not said: %s", got.body)
	}
}

// With the path / a charger's id is all that its URL has.
func TestPathsOfTheRoot(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Paths: []string{"/"}}})
	for target, device := range map[string]string{"/CP1": "CP1", "/connect/a": "a", "//CP2/": "CP2", "/?device=b": "b"} {
		if got := ask(t, w.dial(), upgrade(target)); got.status != http.StatusSwitchingProtocols {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		} else if _, ok := w.sessions.Get(device); !ok {
			t.Errorf("%s is not the device %s", target, device)
		}
	}
	if got := ask(t, w.dial(), upgrade("/", "Sec-WebSocket-Protocol: mqtt")); got.status != http.StatusSwitchingProtocols {
		t.Errorf("MQTT at /: %d %s", got.status, got.body)
	}
	if got := ask(t, w.dial(), upgrade("/")); got.status != 400 || !strings.Contains(got.body, "names no device") {
		t.Errorf("/: %d %s", got.status, got.body)
	}
}

// A charger that names no subprotocol, or names it in its own way, is spoken to as it expects.
func TestSubprotocolsOfChargers(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{RawProtocols: []string{"ocpp1.6"}, DefaultProtocol: "ocpp1.6"}})
	for offer, want := range map[string]string{"": "", "OCPP1.6": "OCPP1.6", "ocpp1.6": "ocpp1.6", "ocpp2.1, Ocpp1.6": "Ocpp1.6"} {
		var header []string
		if offer != "" {
			header = []string{"Sec-WebSocket-Protocol: " + offer}
		}
		inbox := w.subscribe("device/cp/up")
		c := w.dial()
		got := ask(t, c, upgrade("/connect/cp", header...))
		if got.status != http.StatusSwitchingProtocols || got.header.Get("Sec-WebSocket-Protocol") != want {
			t.Errorf("%q: %d, %q", offer, got.status, got.header.Get("Sec-WebSocket-Protocol"))
		}
		if _, err := c.Write([]byte("\x81\x82\x00\x00\x00\x00[]")); err != nil {
			t.Fatal(err)
		}
		if all := w.take(inbox, 1); string(all[0].Payload) != "[]" {
			t.Errorf("%q: it says %v", offer, all)
		}
		inbox.Close([]*message.Message{})
	}
	if _, err := Start(Config{Listen: "127.0.0.1:0", DefaultProtocol: "ocpp1.5"}, nil, nil); err == nil || !strings.Contains(err.Error(), `default_protocol: "ocpp1.5" is not known: want one of longline.v1.json, longline.v1.protobuf`) || strings.Contains(err.Error(), "mqtt") {
		t.Errorf("%v", err)
	}
}
