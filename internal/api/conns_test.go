package api

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/reload"
)

// dialRaw returns a plain connection to the admin port.
func (w *world) dialRaw(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// get sends a request on an open connection and returns the status.
func get(t *testing.T, c net.Conn, r *bufio.Reader, path, header string) int {
	t.Helper()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n"+header+"\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}

// However many silent connections there are, one that presented a token stays open, and a new one is served.
func TestStrangersAreClosedForOthers(t *testing.T) {
	const most = 4
	w := newDoor(t, func(c *Config, _ *Node) { c.MaxConnections = most })
	known := w.dialRaw(t)
	r := bufio.NewReader(known)
	const token = "Authorization: Bearer read token\r\n"
	if got := get(t, known, r, procedures+"ListDevices", token); got != http.StatusUnsupportedMediaType {
		t.Fatal(got) // the connection is accepted, and told what a request looks like
	}
	for range 5 * most {
		w.dialRaw(t)
	}
	late := w.dialRaw(t)
	if got := get(t, late, bufio.NewReader(late), "/healthz", ""); got != http.StatusOK {
		t.Errorf("health: %d", got)
	}
	if got := get(t, known, r, "/healthz", token); got != http.StatusOK {
		t.Errorf("who has shown a token: %d", got)
	}
	if n, closed := w.api.PortStats().Connections, w.api.PortStats().Closed; n > most || closed == 0 {
		t.Errorf("%d connections, %d closed", n, closed)
	}
}

// A client that reads no answers, in HTTP/2 by a window of 0, holds a bounded number of requests, and others are served.
func TestStrangersWhoTakeNothing(t *testing.T) {
	const streams, conns = 10 * anonymousRequests, 40
	w := newDoor(t, func(*Config, *Node) {})
	for range conns {
		stall(t, w.dialRaw(t), streams, streams-anonymousRequests)
	}
	w.api.conns.mu.Lock()
	held := 0
	for _, g := range w.api.conns.list {
		held += int(g.busy.Load())
	}
	w.api.conns.mu.Unlock()
	if held != conns*anonymousRequests {
		t.Errorf("%d requests are held, want %d", held, conns*anonymousRequests)
	}
	if n := w.api.PortStats().Reset; n != conns*(streams-anonymousRequests) {
		t.Errorf("%d requests were reset, want %d", n, conns*(streams-anonymousRequests))
	}
	late := w.dialRaw(t)
	if got := get(t, late, bufio.NewReader(late), "/healthz", ""); got != http.StatusOK {
		t.Errorf("health: %d", got)
	}
}

// stall sends requests on as many streams without reading the answers, and returns when that many were reset.
func stall(t *testing.T, c net.Conn, streams, resets uint32) {
	t.Helper()
	hello := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	hello = frame(hello, 4, 0, 0, []byte{0, 4, 0, 0, 0, 0}) // SETTINGS_INITIAL_WINDOW_SIZE 0
	for i := range streams {
		// :method GET, :path /, :scheme http, :authority localhost; RFC 7541
		hello = frame(hello, 1, 5, 2*i+1, append([]byte{0x82, 0x84, 0x86, 0x41, 9}, "localhost"...))
	}
	if _, err := c.Write(hello); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for reset := uint32(0); reset < resets; {
		var head [9]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			t.Fatalf("%d streams were reset: %v", reset, err)
		}
		if _, err := r.Discard(int(head[0])<<16 | int(head[1])<<8 | int(head[2])); err != nil {
			t.Fatal(err)
		}
		if head[3] == 3 { // RST_STREAM
			reset++
		}
	}
}

// frame appends a frame of HTTP/2, RFC 9113 §4.1.
func frame(dst []byte, typ, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	dst = append(dst, byte(n>>16), byte(n>>8), byte(n), typ, flags)
	dst = binary.BigEndian.AppendUint32(dst, stream)
	return append(dst, payload...)
}

// A request by a browser on behalf of a page of another origin is refused, whatever it asks for.
func TestPages(t *testing.T) {
	const mozilla, events = "Mozilla/5.0 (X11)", "/v1/subscribe?filter=a"
	w := newWorldOfPages(t)
	door := newDoor(t, func(*Config, *Node) {})
	for _, tt := range []struct {
		path, origin, site, agent string
		open, tokens              bool // allowed without configured tokens, and with them
	}{
		{events, "", "", "curl/8", true, true},
		{events, "", "cross-site", mozilla, false, false},
		{events, "", "same-site", mozilla, false, false},
		{events, "", "same-origin", mozilla, true, true},
		{events, "", "none", mozilla, true, true},
		{events, "https://evil.example", "cross-site", mozilla, false, false},
		{events, "https://ops.example.com", "cross-site", mozilla, true, true},
		{"/debug/pprof/cmdline", "", "cross-site", mozilla, false, false},
		{"/debug/pprof/cmdline", "", "", mozilla, false, true}, // a browser that is too old to send Sec-Fetch-Site
		{events, "", "", mozilla, false, true},
		{"/metrics", "", "", mozilla, true, true},
		{"/healthz", "", "", mozilla, true, true},
		{"/healthz", "", "cross-site", mozilla, false, false},
	} {
		r, err := http.NewRequest(http.MethodGet, w.url+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Origin": tt.origin, "Sec-Fetch-Site": tt.site, "User-Agent": tt.agent} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if why := w.api.fromPage(r); (why == "") != tt.open {
			t.Errorf("%+v, no tokens: %q", tt, why)
		}
		if why := door.api.fromPage(r); (why == "") != tt.tokens {
			t.Errorf("%+v, tokens: %q", tt, why)
		}
	}
	if status, _ := w.do(t, "GET", events, "", "Sec-Fetch-Site", "cross-site", "User-Agent", mozilla); status != http.StatusForbidden {
		t.Errorf("a page's image: %d", status)
	}
}

// newWorldOfPages returns a world without tokens that allows one origin.
func newWorldOfPages(t *testing.T) *world {
	return newDoor(t, func(_ *Config, n *Node) { n.Roles = nil })
}

// When a token is removed from its file, the streams that it opened end.
func TestTokenTakenOutEndsStreams(t *testing.T) {
	watcher := new(reload.Watcher)
	name := t.TempDir() + "/tokens"
	const line = "read sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b r\n" // of "secret"
	if err := os.WriteFile(name, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newDoor(t, func(c *Config, n *Node) {
		roles, err := auth.OpenRoles(name, watcher)
		if err != nil {
			t.Fatal(err)
		}
		n.Roles, c.Heartbeat = roles, 10*time.Millisecond
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/v1/subscribe?filter=a", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer secret")
	response, err := w.h1.Do(r)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	defer response.Body.Close()
	if err := os.WriteFile(name, []byte("# nobody is left\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	watcher.Look()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Logf("the stream ended with %v", err)
	}
}

// A method is a level of the topic on which an MQTT device is called.
func TestMethods(t *testing.T) {
	for method, good := range map[string]bool{
		"reboot": true, "RemoteStartTransaction": true, "a.b-c_d:e": true, "ü": true, "$x": true,
		"": false, "a/b": false, "a/+": false, "x#": false, "+": false, "\x00": false, "\x01b": false, "\xff": false, strings.Repeat("x", maxMethod+1): false,
	} {
		if err := validMethod(method); (err == nil) != good {
			t.Errorf("%q: %v", method, err)
		}
	}
}
