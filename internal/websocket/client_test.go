package websocket

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var clientRequest = ClientRequest{
	Host: "h:1", Target: "/connect?a=b", Key: "dGhlIHNhbXBsZSBub25jZQ==",
	Protocols: []string{"longline.v1.json", "mqtt"}, Authorization: "Basic YTpi",
	Deflate: true, Header: []Field{{"X-Model", "m1"}},
}

const response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// with adds a line to the response.
func with(line string) string { return strings.TrimSuffix(response, "\r\n") + line + "\r\n\r\n" }

// Client and server of this package understand each other.
func TestHandshake(t *testing.T) {
	for _, deflate := range []bool{true, false} {
		out := AppendRequest(nil, &clientRequest)
		var req Request
		if n, err := ParseRequest(out, &req, Limits{}); err != nil || n != len(out) {
			t.Fatalf("n %d of %d, error %v", n, len(out), err)
		}
		got := strings.Join(append(protocols(&req), string(req.Host), string(req.Path), string(req.RawQuery),
			string(req.Key), string(req.Authorization), string(req.Header("X-Model"))), " ")
		if want := "longline.v1.json mqtt h:1 /connect a=b dGhlIHNhbXBsZSBub25jZQ== Basic YTpi m1"; got != want || req.Window != FullWindow {
			t.Fatalf("got %q, window %d", got, req.Window)
		}
		answer := AppendUpgrade(nil, &req, "mqtt", deflate, Field{"X-Node", "n1"})
		n, resp, err := ParseResponse(append(answer, "\x81\x00"...), &clientRequest, Limits{})
		if err != nil || n != len(answer) || resp.Protocol != "mqtt" || resp.Deflate != deflate || string(resp.Header("x-node")) != "n1" {
			t.Errorf("n %d of %d, %+v, error %v", n, len(answer), resp, err)
		}
		for size := range len(answer) {
			if n, _, err := ParseResponse(answer[:size], &clientRequest, Limits{}); n != 0 || err != nil {
				t.Fatalf("%d bytes of it: n %d, error %v", size, n, err)
			}
		}
	}
}

func TestParseResponse(t *testing.T) {
	ext := func(s string) string { return with("Sec-WebSocket-Extensions: " + s) }
	cases := []struct {
		name, in string
		want     HandshakeError // Status 0 and Reason "" when the response is fine
	}{
		{"plain", response, HandshakeError{}},
		{"deflate", ext("permessage-deflate; server_no_context_takeover"), HandshakeError{}},
		{"deflate with a window of the server's", ext("permessage-deflate; server_no_context_takeover; server_max_window_bits=9"), HandshakeError{}},
		{"full", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", HandshakeError{503, "Service Unavailable", 7 * time.Second}},
		{"a date", "HTTP/1.0 429\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n\r\n", HandshakeError{429, "", 0}},
		{"our own refusal", string(AppendHTTPError(nil, errKey)), HandshakeError{400, "Bad Request", 0}},
		{"not HTTP", "SSH-2.0-OpenSSH\r\n", HandshakeError{0, "the response is not HTTP/1.1", 0}},
		{"no Upgrade", strings.Replace(response, "Upgrade: websocket", "Upgrade: h2c", 1), HandshakeError{101, "Upgrade is not websocket", 0}},
		{"no Connection", strings.Replace(response, "Connection: Upgrade", "Connection: close", 1), HandshakeError{101, "Connection is not Upgrade", 0}},
		{"another key", strings.Replace(response, "s3pP", "S3pP", 1), HandshakeError{101, "Sec-WebSocket-Accept does not match the key", 0}},
		{"no accept", strings.Replace(response, "-Accept", "-Except", 1), HandshakeError{101, "Sec-WebSocket-Accept is missing", 0}},
		{"a subprotocol of its own", with("Sec-WebSocket-Protocol: other"), HandshakeError{101, "the server chose a subprotocol that was not offered", 0}},
		{"two subprotocols", with("Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Protocol: mqtt"), HandshakeError{101, "the server chose a subprotocol that was not offered", 0}},
		{"an extension of its own", ext("x-other"), HandshakeError{101, "the server chose an extension that was not offered", 0}},
		{"deflate twice", ext("permessage-deflate; server_no_context_takeover, permessage-deflate"), HandshakeError{101, "the server chose an extension that was not offered", 0}},
		{"context takeover", ext("permessage-deflate"), HandshakeError{101, "the server's parameters of permessage-deflate do not answer the offer", 0}},
		{"a window of ours", ext("permessage-deflate; server_no_context_takeover; client_max_window_bits=10"), HandshakeError{101, "the server's parameters of permessage-deflate do not answer the offer", 0}},
		{"bad grammar", ext("permessage-deflate;"), HandshakeError{101, "Sec-WebSocket-Extensions breaks its grammar", 0}},
		{"malformed line", with("nonsense"), HandshakeError{101, "Line 5 of the header is malformed: it has no colon.", 0}},
	}
	for _, c := range cases {
		n, _, err := ParseResponse([]byte(c.in), &clientRequest, Limits{})
		if c.want == (HandshakeError{}) {
			if err != nil || n != len(c.in) {
				t.Errorf("%s: n %d, error %v", c.name, n, err)
			}
			continue
		}
		var e *HandshakeError
		if !errors.As(err, &e) || *e != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, &c.want)
		}
	}
}

func TestClientRequestValidate(t *testing.T) {
	if err := clientRequest.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(r *ClientRequest){
		"no host":               func(r *ClientRequest) { r.Host = "" },
		"lines in the host":     func(r *ClientRequest) { r.Host = "h\r\nX: y" },
		"a space in the target": func(r *ClientRequest) { r.Target = "/a b" },
		"a relative target":     func(r *ClientRequest) { r.Target = "a" },
		"no key":                func(r *ClientRequest) { r.Key = "" },
		"protocol":              func(r *ClientRequest) { r.Protocols = []string{"a", "b,c"} },
		"authorization":         func(r *ClientRequest) { r.Authorization = "a\nb" },
		"header name":           func(r *ClientRequest) { r.Header = []Field{{"a:b", "c"}} },
		"header value":          func(r *ClientRequest) { r.Header = []Field{{"a", "b\r\nc"}} },
	} {
		r := clientRequest
		if change(&r); r.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestNewHandshakeKey(t *testing.T) {
	a, b := NewHandshakeKey(), NewHandshakeKey()
	if !validKey([]byte(a)) || a == b {
		t.Errorf("keys %q and %q", a, b)
	}
}
