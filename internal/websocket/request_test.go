package websocket

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const browserRequest = "GET /connect?token=abc%20d HTTP/1.1\r\n" +
	"Host: gateway.example.com:8080\r\n" +
	"Connection: keep-alive, Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: https://console.example.com\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"Sec-WebSocket-Protocol: longline.v1.json, mqtt\r\n\r\n"

// request is a minimal handshake with some lines changed: "Host: a" replaces or adds the
// line, "Host" alone removes it, "+Host: a" adds a second one.
func request(changes ...string) string {
	lines := []string{"GET / HTTP/1.1", "Host: h", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"}
	for _, c := range changes {
		if added, ok := strings.CutPrefix(c, "+"); ok {
			lines = append(lines, added)
			continue
		}
		name, _, replaces := strings.Cut(c, ":")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+":") })
		switch {
		case strings.Contains(c, " HTTP/"):
			lines[0] = c
		case i < 0:
			lines = append(lines, c)
		case replaces:
			lines[i] = c
		default:
			lines = slices.Delete(lines, i, i+1)
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func TestParseRequest(t *testing.T) {
	var req Request
	n, err := ParseRequest([]byte(browserRequest+"\x81\x80"), &req, Limits{})
	if err != nil || n != len(browserRequest) {
		t.Fatalf("n %d of %d, error %v", n, len(browserRequest), err)
	}
	for _, c := range []struct{ name, got, want string }{
		{"Path", string(req.Path), "/connect"},
		{"RawQuery", string(req.RawQuery), "token=abc%20d"},
		{"Host", string(req.Host), "gateway.example.com:8080"},
		{"Origin", string(req.Origin), "https://console.example.com"},
		{"Key", string(req.Key), "dGhlIHNhbXBsZSBub25jZQ=="},
		{"Header", string(req.Header("accept-language")), "en-US,en;q=0.9"},
		{"last Header", string(req.Header("SEC-WEBSOCKET-PROTOCOL")), "longline.v1.json, mqtt"},
		{"protocols", strings.Join(protocols(&req), "|"), "longline.v1.json|mqtt"},
	} {
		if c.got != c.want {
			t.Errorf("%s is %q, want %q", c.name, c.got, c.want)
		}
	}
	if req.Window != FullWindow || req.Authorization != nil || req.Header("Cookie") != nil {
		t.Errorf("window %d, authorization %q, cookie %q", req.Window, req.Authorization, req.Header("Cookie"))
	}
	for size := range len(browserRequest) {
		if n, err := ParseRequest([]byte(browserRequest[:size]), &req, Limits{}); n != 0 || err != nil {
			t.Fatalf("%d bytes of it: n %d, error %v", size, n, err)
		}
	}
}

func protocols(req *Request) (names []string) {
	for p := range req.Protocols {
		names = append(names, string(p))
	}
	return names
}

func TestParseRequestAccepts(t *testing.T) {
	cases := []struct {
		name, in string
		ok       func(r *Request) bool
	}{
		{"odd spelling", request("uPGRADE: foo, WebSocket", "Upgrade", "CONNECTION:\tupgrade "), func(r *Request) bool { return true }},
		{"repeated protocols", request("+Sec-WebSocket-Protocol: a,, b", "+sec-websocket-protocol: c"), func(r *Request) bool {
			return slices.Equal(protocols(r), []string{"a", "b", "c"})
		}},
		{"absolute form", request("GET http://other:1/p?q HTTP/1.1"), func(r *Request) bool {
			return string(r.Host) == "other:1" && string(r.Path) == "/p" && string(r.RawQuery) == "q"
		}},
		{"absolute form of a device", request("GET WS://other:1/p HTTP/1.1"), func(r *Request) bool {
			return string(r.Host) == "other:1" && string(r.Path) == "/p"
		}},
		{"absolute form without path", request("GET wss://other?q HTTP/1.1"), func(r *Request) bool {
			return string(r.Host) == "other" && string(r.Path) == "/" && string(r.RawQuery) == "q"
		}},
		{"absolute form of an authority", request("GET http://other:1 HTTP/1.1"), func(r *Request) bool {
			return string(r.Host) == "other:1" && string(r.Path) == "/" && r.RawQuery == nil
		}},
		{"the lines of two proxies", request("+X-Forwarded-For: 1.1.1.1", "+X-Forwarded-For: 2.2.2.2, 3.3.3.3"), func(r *Request) bool {
			return slices.Equal(r.ForwardedFor(), []string{"1.1.1.1", "2.2.2.2, 3.3.3.3"})
		}},
		{"an empty body", request("Content-Length: 0"), func(r *Request) bool { return true }},
		{"HTTP/1.2", request("GET / HTTP/1.2"), func(r *Request) bool { return string(r.Path) == "/" && r.RawQuery == nil }},
	}
	for _, c := range cases {
		var req Request
		if n, err := ParseRequest([]byte(c.in), &req, Limits{}); err != nil || n != len(c.in) || !c.ok(&req) {
			t.Errorf("%s: n %d, error %v, path %q, host %q", c.name, n, err, req.Path, req.Host)
		}
	}
}

func TestParseRequestRefuses(t *testing.T) {
	cases := []struct {
		name, in string
		status   int
		says     string
	}{
		{"POST", request("POST / HTTP/1.1"), 405, "GET"},
		{"HTTP/1.0", request("GET / HTTP/1.0"), 505, "HTTP/1.1"},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, ""},
		{"TLS", "\x16\x03\x01", 400, "request line"},
		{"no version", "GET /\r\n", 400, "request line"},
		{"space in the target", request("GET /a b HTTP/1.1"), 400, "request line"},
		{"fragment", request("GET /#a HTTP/1.1"), 400, "request line"},
		{"authority form", request("GET h:80 HTTP/1.1"), 400, "request line"},
		{"scheme without authority", request("GET http:///p HTTP/1.1"), 400, "request line"},
		{"another scheme", request("GET ftp://h/p HTTP/1.1"), 400, "request line"},
		{"empty line first", "\r\n" + request(), 400, ""},
		{"no Host", request("Host"), 400, "Host"},
		{"empty Host", request("Host:"), 400, "Host"},
		{"two Hosts", request("+Host: h"), 400, "Host"},
		{"a browser", request("Upgrade", "Connection: keep-alive"), 426, "WebSocket client"},
		{"no Connection", request("Connection: close"), 426, "proxy"},
		{"no key", request("Sec-WebSocket-Key"), 400, "Key"},
		{"two keys", request("+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, "Key"},
		{"short key", request("Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="), 400, "Key"},
		{"bad key", request("Sec-WebSocket-Key: dGhl!HNhbXBsZSBub25jZQ=="), 400, "Key"},
		{"17 bytes of key", request("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQE="), 400, "Key"},
		{"version 8", request("Sec-WebSocket-Version: 8"), 426, "13"},
		{"no version of WebSocket", request("Sec-WebSocket-Version"), 426, "13"},
		{"two versions", request("+Sec-WebSocket-Version: 13"), 400, "once"},
		{"two credentials", request("+Authorization: a", "+Authorization: b"), 400, "once"},
		{"bare LF", "GET / HTTP/1.1\r\nHost: h\n\r\n", 400, "Line 2"},
		{"folding", request("+X: a", "+ b: c"), 400, "Line 8"},
		{"space before the colon", request("+X : a"), 400, "Line 7"},
		{"no colon", request("+nonsense"), 400, "Line 7"},
		{"no name", request("+: a"), 400, "Line 7"},
		{"NUL", request("+X: a\x00"), 400, "control character"},
		{"CR inside", request("+X: a\rb"), 400, "control character"},
		{"a body", request("Content-Length: 5"), 400, "body"},
		{"chunks", request("Transfer-Encoding: chunked"), 400, "body"},
		{"protocol not a token", request("Sec-WebSocket-Protocol: a b"), 400, "Protocol"},
		{"extension not a token", request("Sec-WebSocket-Extensions: a b"), 400, "Extensions"},
		{"too long", request("+X: " + strings.Repeat("a", 8192)), 431, "large"},
		{"endless", "GET /" + strings.Repeat("a", 9000), 431, "large"},
		{"too many lines", request(slices.Repeat([]string{"+X: a"}, 60)...), 431, "many"},
	}
	for _, c := range cases {
		var req Request
		n, err := ParseRequest([]byte(c.in), &req, Limits{})
		var e *HTTPError
		if !errors.As(err, &e) {
			t.Errorf("%s: n %d, error %v", c.name, n, err)
			continue
		}
		if e.Status != c.status || !strings.Contains(e.Reason, c.says) {
			t.Errorf("%s: %d %q, want %d %q", c.name, e.Status, e.Reason, c.status, c.says)
		}
	}
}

// RFC 7692 §5.1, §7.1: the first acceptable offer is selected; others are declined.
func TestDeflateOffers(t *testing.T) {
	const agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	cases := []struct {
		offer, answer string
		window        Window
	}{
		{"permessage-deflate", agreed, 15},
		{"PERMESSAGE-DEFLATE ; client_max_window_bits", agreed, 15},
		{"permessage-deflate; client_max_window_bits=10; server_no_context_takeover", agreed, 15},
		{`permessage-deflate; client_max_window_bits="15"`, agreed, 15},
		{"permessage-deflate; server_max_window_bits=15", agreed + "; server_max_window_bits=15", 15},
		{"permessage-deflate; server_max_window_bits=8", agreed + "; server_max_window_bits=8", 8},
		{"permessage-deflate; server_max_window_bits=10, permessage-deflate", agreed + "; server_max_window_bits=10", 10},
		{"permessage-deflate; server_max_window_bits=7, permessage-deflate", agreed, 15},
		{"x-webkit-deflate-frame, permessage-deflate; client_no_context_takeover", agreed, 15},
		{"permessage-deflate; server_max_window_bits", "", 0},
		{"permessage-deflate; server_max_window_bits=16", "", 0},
		{"permessage-deflate; client_max_window_bits=08", "", 0},
		{"permessage-deflate; client_max_window_bits=7", "", 0},
		{"permessage-deflate; server_no_context_takeover=1", "", 0},
		{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", "", 0},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits=9", "", 0},
		{"permessage-deflate; mystery", "", 0},
		{`permessage-deflate; mystery="a, b; \" c"`, "", 0},
		{"permessage-bzip2", "", 0},
		{"", "", 0},
		{" , ,permessage-deflate,", agreed, 15},
	}
	for _, c := range cases {
		var req Request
		if _, err := ParseRequest([]byte(request("Sec-WebSocket-Extensions: "+c.offer)), &req, Limits{}); err != nil {
			t.Errorf("%s: %v", c.offer, err)
			continue
		}
		want := ""
		if c.answer != "" {
			want = "Sec-WebSocket-Extensions: " + c.answer + "\r\n"
		}
		head := string(AppendUpgrade(nil, &req, "", true))
		if req.Window != c.window || !strings.HasSuffix(head, "=\r\n"+want+"\r\n") {
			t.Errorf("%s: window %d, answered %q, want %d, %q", c.offer, req.Window, head, c.window, want)
		}
	}
	for _, bad := range []string{"permessage-deflate;", "a b", "a;=1", "a; b=", `a; b="`, "a; b=1 c", ";"} {
		var req Request
		if _, err := ParseRequest([]byte(request("Sec-WebSocket-Extensions: "+bad)), &req, Limits{}); err != error(errExtensions) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// RFC 6455 §1.3 has the key and the accept key.
func TestAppendUpgrade(t *testing.T) {
	var req Request
	if _, err := ParseRequest([]byte(request()), &req, Limits{}); err != nil {
		t.Fatal(err)
	}
	got := string(AppendUpgrade(nil, &req, "chat", true, Field{"X-Node", "n1"}))
	want := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nX-Node: n1\r\n\r\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAppendHTTPError(t *testing.T) {
	got := string(AppendHTTPError(nil, &HTTPError{503, "Full.", []Field{{"Retry-After", "7"}}}))
	want := "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n" +
		"Connection: close\r\nRetry-After: 7\r\n\r\nFull.\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{"/a%20b%2fc%C3%A4": "/a b/cä", "": "", "/+": "/+"} {
		if got, err := Unescape(nil, []byte(in)); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{"%", "a%2", "%zz", "%2g", "%%20"} {
		if _, err := Unescape(nil, []byte(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
