package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/wire"
)

// dial opens a TCP connection to the device port that ends with the test.
func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.gateway.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// upgrade is a handshake for a target, with further header lines.
func upgrade(target string, lines ...string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		strings.Join(append(lines, "\r\n"), "\r\n")
}

// answer is an HTTP response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends bytes and returns what the gateway answers.
func ask(t testing.TB, c net.Conn, request string) answer {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return answer{response.StatusCode, response.Header, ""}
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the refusal: %v, want the end of the stream", err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func TestHandshakes(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{HeaderBytes: 2000, HeaderFields: 20, RawProtocols: []string{"ocpp1.6"}}})
	long := strings.Repeat("x", 3000)
	tests := []struct {
		name, request string
		status        int
		body          string // part of it
		field, value  string // of the answer's header
	}{
		{"json", upgrade("/connect/a"), 101, "", "Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{"named", upgrade("/connect/a", "Sec-WebSocket-Protocol: longline.v1.protobuf"), 101, "", "Sec-WebSocket-Protocol", "longline.v1.protobuf"},
		{"first known", upgrade("/connect/a", "Sec-WebSocket-Protocol: v9, ocpp1.6, longline.v1.json"), 101, "", "Sec-WebSocket-Protocol", "ocpp1.6"},
		{"unknown", upgrade("/connect/a", "Sec-WebSocket-Protocol: soap"), 400, "longline.v1.json, longline.v1.protobuf, ocpp1.6", "", ""},
		{"no upgrade", "GET /connect/a HTTP/1.1\r\nHost: gateway\r\n\r\n", 426, "connect with a WebSocket client", "Upgrade", "websocket"},
		{"post", "POST /connect/a HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n", 405, "start with GET", "Allow", "GET"},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00", 400, "request line", "", ""},
		{"old HTTP", "GET /connect/a HTTP/1.0\r\n\r\n", 505, "HTTP/1.1", "", ""},
		{"another path", upgrade("/"), 404, "/connect/{device}", "", ""},
		{"nearly the path", upgrade("/connected"), 404, "/connect/{device}", "", ""},
		{"no device", upgrade("/connect"), 400, "names no device", "", ""},
		{"no device, slash", upgrade("/connect/"), 400, "names no device", "", ""},
		{"bad escape", upgrade("/connect/a%2"), 400, "percent escape", "", ""},
		{"long id", upgrade("/connect/" + strings.Repeat("d", 129)), 400, "longer than 128", "", ""},
		{"empty id", upgrade("/connect?device="), 400, "is empty", "", ""},
		{"named twice", upgrade("/connect/a?device=b"), 400, "names the device twice", "", ""},
		{"bad expiry", upgrade("/connect/a?expiry=soon"), 400, "expiry", "", ""},
		{"bad clean", upgrade("/connect/a?clean=maybe"), 400, "clean", "", ""},
		{"unknown parameters", upgrade("/connect/a?fw=1.2&&x"), 101, "", "", ""},
		{"large header", upgrade("/connect/a", "X-Long: "+long), 431, "too large", "", ""},
		{"endless line", "GET /" + long, 431, "too large", "", ""},
		{"many lines", upgrade("/connect/a", strings.Split(strings.Repeat("A: b\n", 21), "\n")[:21]...), 431, "too many", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ask(t, w.dial(), test.request)
			if got.status != test.status || !strings.Contains(got.body, test.body) {
				t.Errorf("%d: %q, want %d with %q", got.status, got.body, test.status, test.body)
			}
			if got := got.header.Get(test.field); got != test.value {
				t.Errorf("%s: %q, want %q", test.field, got, test.value)
			}
		})
	}
}

func TestNobodyIsBelievedWithoutInsecure(t *testing.T) {
	memory := newWorld(t, settings{})
	g, err := Start(Config{Listen: "127.0.0.1:0", Loops: 1}, memory.router, memory.sessions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	w := &world{t: t, gateway: g}
	if got := ask(t, w.dial(), upgrade("/connect/a")); got.status != 401 || !strings.Contains(got.body, "--insecure") {
		t.Errorf("%d: %q, want 401", got.status, got.body)
	}
}

func TestConfigIsValidated(t *testing.T) {
	tests := []struct {
		config Config
		want   string // part of the error; empty is none
	}{
		{Config{}, ""},
		{Config{Insecure: true}, ""},
		{Config{Insecure: true, Listen: "[::1]:0"}, ""},
		{Config{Insecure: true, Listen: "0.0.0.0:8080"}, "loopback"},
		{Config{Insecure: true, Listen: "example.com:8080"}, "loopback"},
		{Config{Insecure: true, Listen: "localhost:8080"}, ""},
		{Config{Insecure: true, Listen: "localhost:8080", MQTT: MQTT{Listen: ":1883"}}, `not on ":1883"`},
		{Config{Paths: []string{"ocpp"}}, `paths: want a path such as /ocpp, not "ocpp"`},
		{Config{Paths: []string{"/ocpp?a"}}, "paths: want a path"},
		{Config{Insecure: true, Listen: "127.0.0.1:99999"}, `listen: want host:port, such as :8080, not "127.0.0.1:99999"`},
		{Config{Listen: "8080"}, "listen: want host:port"},
		{Config{MQTT: MQTT{Listen: "1883"}}, "mqtt.listen: want host:port"},
		{Config{TLS: TLS{Cert: "cert.pem"}}, "tls.cert: cert and key go together"},
		{Config{Heartbeat: time.Minute, HeartbeatTimeout: time.Minute}, "heartbeat_timeout"},
	}
	for _, test := range tests {
		err := test.config.WithDefaults().Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.config, err, test.want)
		}
	}
	if _, err := Start(Config{Insecure: true, Listen: "0.0.0.0:0"}, nil, nil); err == nil {
		t.Error("the gateway believes devices from everywhere")
	}
}

// A peer that does not finish its handshake is answered in time, whatever it trickles.
func TestSlowHandshake(t *testing.T) {
	const timeout = 300 * time.Millisecond
	w := newWorld(t, settings{gateway: Config{HandshakeTimeout: timeout}})
	start := time.Now()
	for _, begin := range []string{"", "GET /connect/a HTTP/1.1\r\nHost: g"} {
		got := ask(t, w.dial(), begin)
		if got.status != 408 || !strings.Contains(got.body, "too long") {
			t.Errorf("%q: %d: %q, want 408", begin, got.status, got.body)
		}
		if took := time.Since(start); took < timeout/2 || took > 10*timeout {
			t.Errorf("%q: answered after %v, want %v", begin, took, timeout)
		}
		start = time.Now()
	}
}

// A handshake and packets in any pieces, and packets right behind the handshake.
func TestHandshakeInPieces(t *testing.T) {
	w := newWorld(t, settings{})
	inbox := w.subscribe("t")
	bytes := upgrade("/connect/a") + string(masked(`{"op":"pub","id":1,"topic":"t","payload":1,"qos":1}`))
	whole := w.dial()
	ask(t, whole, bytes)
	c := w.dial()
	for i := range len(bytes) {
		if _, err := io.WriteString(c, bytes[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	w.take(inbox, 2)
}

// A connection that has ended is nobody's, and is not waited for.
func TestPeerOfWhoHasLeft(t *testing.T) {
	w := newWorld(t, settings{})
	w.greeted("/connect/a")
	conns := w.conns()
	w.sessions.Disconnect("a", wire.CloseKicked)
	w.awaitPresence("a", false)
	w.await("the end", func() bool { return w.metric("longline_connections") == 0 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if peers := w.gateway.Peers(ctx, append(conns, nil)); len(peers) != 2 || peers[0] != (devices.Peer{}) || peers[1] != (devices.Peer{}) || ctx.Err() != nil {
		t.Errorf("%v, %v", peers, ctx.Err())
	}
}
