package websocket

import (
	"bytes"
	"slices"
	"testing"
)

// Any split of the bytes yields the same events and the same error, on either side, with
// or without compression, and with both limits set.
func FuzzReader(f *testing.F) {
	add := func(stream string) {
		for _, mode := range []byte{0, 1, 2, 3, 4} {
			f.Add([]byte(stream), []byte{1}, mode)
			f.Add([]byte(stream), []byte{3, 14, 1, 200}, mode)
		}
	}
	add(fin(Text, "hello") + fin(Ping, "p") + fin(Close, "\x03\xe8bye"))
	add(part(Text, "a\xf0\x9f") + fin(Ping, "p") + part(Continuation, "") + fin(Continuation, "\x98\x80"))
	add(frame(bitRSV1, Text, helloFixed[:3]) + fin(Pong, "") + fin(Continuation, helloFixed[3:]) + fin(Binary, "x"))
	add(fin(Binary, string(telemetry(700))) + part(Text, string(telemetry(130))) + fin(Text, ""))
	add(string(AppendClose(AppendCompressed(AppendFrame(nil, Text, []byte("é")), Text, telemetry(300), FullWindow, 0), 1000, "")))
	f.Fuzz(func(t *testing.T, stream, sizes []byte, mode byte) {
		cfg := &Config{Client: mode&1 != 0, MaxMessage: 1000}
		if mode&4 != 0 {
			cfg.MaxFrame = 100
		}
		deflate := mode&2 != 0
		whole := read(cfg, deflate, slices.Clone(stream))
		cuts := make([]int, len(sizes))
		for i, s := range sizes {
			cuts[i] = int(s)
		}
		split := read(cfg, deflate, slices.Clone(stream), cuts...)
		if whole.err != split.err || !slices.Equal(whole.events, split.events) {
			t.Fatalf("whole: %q, %v\nsplit: %q, %v", whole.events, whole.err, split.events, split.err)
		}
		if e, ok := whole.err.(*Error); whole.err != nil && (!ok || !validCode(e.Code)) {
			t.Fatalf("error %v", whole.err)
		}
	})
}

// Any split of a request yields the same result; an accepted request can be written again and
// is then accepted with the same meaning.
func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{browserRequest, request(), request("GET http://other:1/p?q HTTP/1.1"), request("Host"), request("+X : a"),
		request("Sec-WebSocket-Extensions: a; b=\"c\\\"\", permessage-deflate; server_max_window_bits=15"), "GET / HTTP/1.1\r\nHost: h\n"} {
		f.Add([]byte(s), 20)
	}
	limits := Limits{Bytes: 1024, Fields: 20}
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		var req, part, again Request
		n, err := ParseRequest(p, &req, limits)
		cut = max(0, cut) % (len(p) + 1)
		if n2, err2 := ParseRequest(p[:cut], &part, limits); n2 > 0 && n2 != n || err2 != nil && message(err2) != message(err) {
			t.Fatalf("whole: n %d, %v; first %d bytes: n %d, %v", n, err, cut, n2, err2)
		}
		if err != nil {
			if e, ok := err.(*HTTPError); !ok || n != 0 || e.Status < 400 || e.Reason == "" {
				t.Fatalf("n %d, error %v", n, err)
			}
			return
		}
		if n == 0 {
			if len(p) >= limits.Bytes {
				t.Fatalf("%d bytes are not enough", len(p))
			}
			return
		}
		copied := ClientRequest{Host: string(req.Host), Target: string(p[len("GET "):bytes.Index(p, []byte(" HTTP/"))]), Key: string(req.Key),
			Protocols: protocols(&req), Authorization: string(req.Authorization), Deflate: req.Window > 0}
		out := AppendRequest(nil, &copied)
		if n, err := ParseRequest(out, &again, Limits{}); n != len(out) || err != nil {
			t.Fatalf("written again as %q: n %d, %v", out, n, err)
		}
		if !bytes.Equal(req.Path, again.Path) || !bytes.Equal(req.RawQuery, again.RawQuery) || !bytes.Equal(req.Host, again.Host) ||
			!slices.Equal(protocols(&req), protocols(&again)) || (req.Window > 0) != (again.Window > 0) {
			t.Fatalf("written again as %q it means something else", out)
		}
	})
}

// Any split of a response yields the same result.
func FuzzParseResponse(f *testing.F) {
	for _, s := range []string{response, with("Sec-WebSocket-Protocol: mqtt"), with("Sec-WebSocket-Extensions: " + deflateAgreed),
		"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n", "HTTP/1.1 200\r\n\n"} {
		f.Add([]byte(s), 20)
	}
	f.Fuzz(func(t *testing.T, p []byte, cut int) {
		n, resp, err := ParseResponse(p, &clientRequest, Limits{Bytes: 512})
		cut = max(0, cut) % (len(p) + 1)
		n2, _, err2 := ParseResponse(p[:cut], &clientRequest, Limits{Bytes: 512})
		if n2 > 0 && n2 != n || err2 != nil && message(err2) != message(err) {
			t.Fatalf("whole: n %d, %v; first %d bytes: n %d, %v", n, err, cut, n2, err2)
		}
		if n > 0 && resp.Protocol != "" && !slices.Contains(clientRequest.Protocols, resp.Protocol) {
			t.Fatalf("accepts %q", resp.Protocol)
		}
	})
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
