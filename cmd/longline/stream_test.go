package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// serveStream starts a gateway with a stream "log" in a directory.
func serveStream(t *testing.T, dir string) *program {
	t.Helper()
	cmd := exec.Command(os.Args[0], "serve", "--insecure", "--data", dir, "--set", "log.format=json",
		"--set", `streams.log.filters=["t/#"]`, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return start(t, cmd, 0)
}

// publish publishes messages on t/FROM to t/TO, and returns when they are safe.
func (p *program) publish(from, to int) {
	p.t.Helper()
	c := longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+p.admin)
	for i := from; i <= to; i++ {
		text := fmt.Sprint(i)
		m := &longlinev1.Message{Topic: "t/" + text, Text: &text, Qos: 1}
		if r, err := c.Publish(p.t.Context(), connect.NewRequest(&longlinev1.PublishRequest{Message: m})); err != nil || r.Msg.Receivers != 1 {
			p.t.Fatal(r, err)
		}
	}
}

// numbers returns the payloads in lines of JSON.
func numbers(t *testing.T, lines string) (all []int) {
	t.Helper()
	for line := range strings.Lines(lines) {
		all = append(all, number(t, line))
	}
	return all
}

func number(t *testing.T, line string) int {
	t.Helper()
	var e struct {
		Place   string
		Topic   string
		Payload int
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Place == "" || e.Topic != fmt.Sprintf("t/%d", e.Payload) {
		t.Fatalf("line %q: %+v, %v", line, e, err)
	}
	return e.Payload
}

// wantNumbers fails unless got is from to to.
func wantNumbers(t *testing.T, what string, got []int, from, to int) {
	t.Helper()
	for i, n := range got {
		if n != from+i {
			t.Fatalf("%s: %v, want %d to %d", what, got, from, to)
		}
	}
	if len(got) != to-from+1 {
		t.Fatalf("%s: %v, want %d to %d", what, got, from, to)
	}
}

// A stream, its consumers and the places that clients remember outlive kill -9.
func TestStreamSurvivesKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := serveStream(t, dir)
	p.publish(1, 20)
	read := func(args ...string) []int {
		t.Helper()
		code, stdout, stderr := longline(t, append([]string{"stream", "read", "log", "--server", "http://" + p.admin}, args...)...)
		if code != exitDone || stderr != "" {
			t.Fatalf("read %v: exit code %d, %s", args, code, stderr)
		}
		return numbers(t, stdout)
	}
	wantNumbers(t, "all", read(), 1, 20)
	wantNumbers(t, "behind a place", read("--after", "15"), 16, 20)
	wantNumbers(t, "consumer", read("--consumer", "c"), 1, 20)
	wantNumbers(t, "consumer, again", read("--consumer", "c"), 1, 0)
	p.publish(21, 30)
	p.kill()

	p = serveStream(t, dir)
	wantNumbers(t, "all, after the kill", read(), 1, 30)
	wantNumbers(t, "behind a place, after the kill", read("--after", "25"), 26, 30)
	wantNumbers(t, "consumer, after the kill", read("--consumer", "c"), 21, 30)
	p.publish(31, 31)
	code, stdout, stderr := longline(t, "stream", "ls", "--server", p.admin)
	rows := strings.Split(stdout, "\n")
	if code != exitDone || len(rows) != 4 ||
		strings.Join(strings.Fields(rows[0]), " ") != "STREAM CONSUMER MESSAGES BYTES AGE MISSED STATE" ||
		!strings.HasPrefix(strings.Join(strings.Fields(rows[1]), " "), "log 31 ") || !strings.HasSuffix(rows[1], "t/#") ||
		!strings.HasPrefix(strings.Join(strings.Fields(rows[2]), " "), "log c 1 ") || !strings.HasSuffix(rows[2], "nobody reads") {
		t.Errorf("ls: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// relay is a TCP proxy, so that a gateway that starts again has the address it had.
type relay struct {
	listener net.Listener

	// Guarded by mu.
	mu     sync.Mutex
	target string
	open   []net.Conn
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l}
	t.Cleanup(func() { _ = l.Close(); r.use("") })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.join(c)
		}
	}()
	return r
}

// use cuts all connections; later ones go to another target.
func (r *relay) use(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.open {
		_ = c.Close()
	}
	r.open, r.target = nil, target
}

func (r *relay) join(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	far, err := net.Dial("tcp", r.target)
	if err != nil {
		_ = c.Close()
		return
	}
	r.open = append(r.open, c, far)
	for _, pair := range [][2]net.Conn{{c, far}, {far, c}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
		}()
	}
}

// tail goes on where it was when its connection is cut and when the gateway starts again, and begins there the next time.
func TestTailGoesOn(t *testing.T) {
	for _, args := range [][]string{nil, {"--consumer", "c"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			p, r := serveStream(t, dir), newRelay(t)
			r.use(p.admin)
			p.publish(1, 3)
			ctx, stop := context.WithCancel(t.Context())
			in, out := io.Pipe()
			ended := make(chan int, 1)
			go func() {
				args := append([]string{"stream", "tail", "log", "--after", "2", "--server", "http://" + r.listener.Addr().String()}, args...)
				ended <- Run(ctx, args, nil, out, io.Discard)
				_ = out.Close()
			}()
			lines := bufio.NewScanner(in)
			want := func(from, to int) {
				t.Helper()
				for i := from; i <= to; i++ {
					if !lines.Scan() {
						t.Fatal("tail has ended")
					}
					if n := number(t, lines.Text()); n != i {
						t.Fatalf("got %d, want %d", n, i)
					}
				}
			}
			want(3, 3)
			p.publish(4, 10)
			want(4, 10)
			r.use(p.admin) // cuts the connection
			p.publish(11, 20)
			want(11, 20)
			p.kill()
			p = serveStream(t, dir)
			p.publish(21, 30)
			r.use(p.admin)
			want(21, 30)
			stop()
			if lines.Scan() {
				t.Errorf("and then %s", lines.Text())
			}
			if code := <-ended; code != exitDone {
				t.Errorf("exit code %d", code)
			}
			if args != nil {
				code, stdout, _ := longline(t, append([]string{"stream", "read", "log", "--server", "http://" + p.admin}, args...)...)
				if got := numbers(t, stdout); code != exitDone || len(got) > 10 { // the last batch may not be acknowledged
					t.Errorf("exit code %d, %v", code, got)
				}
			}
		})
	}
}

// The commands show a token, and only to the gateway that they were given.
func TestStreamCommandsShowAToken(t *testing.T) {
	dir := t.TempDir()
	tokens, file := filepath.Join(dir, "tokens"), filepath.Join(dir, "longline.yaml")
	sum := sha256.Sum256([]byte("secret"))
	for name, text := range map[string]string{
		tokens: "read sha256:" + hex.EncodeToString(sum[:]) + " reader\n",
		file:   "log: {format: json}\napi: {tokens: " + tokens + "}\nstore: {path: " + dir + "/data}\nstreams: {log: {filters: [a]}}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "serve", "--insecure", "--config", file, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	p := start(t, cmd, 0)
	if code, _, stderr := longline(t, "stream", "ls", "--server", p.admin); code != exitFailed || !strings.HasPrefix(stderr, "longline: unauthenticated: ") {
		t.Errorf("without a token: exit code %d, %s", code, stderr)
	}
	t.Setenv("LONGLINE_TOKEN", "secret")
	if code, stdout, stderr := longline(t, "stream", "ls", "--server", p.admin); code != exitDone || !strings.Contains(stdout, "\nlog ") {
		t.Errorf("with a token: exit code %d, %s%s", code, stdout, stderr)
	}
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s got a request", r.Host) }))
	defer other.Close()
	redirect := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer redirect.Close()
	if code, _, _ := longline(t, "stream", "ls", "--server", redirect.URL); code != exitFailed {
		t.Errorf("redirected: exit code %d", code)
	}
}

func TestStreamCommandsFail(t *testing.T) {
	p := serveStream(t, filepath.Join(t.TempDir(), "data"))
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"read lug --server " + p.admin, exitFailed, "longline: not_found: the configuration has no stream of this name\n"},
		{"tail log --after yesterday --server " + p.admin, exitFailed, `longline: invalid_argument: after is "yesterday": want the place of an entry`},
		{"tail log --server http://" + gone.Addr().String(), exitFailed, "longline: unavailable: "},
		{"ls --server ftp://x", exitFailed, "longline: --server ftp://x: want a URL such as http://127.0.0.1:8081\n"},
		{"read", exitUsage, "longline: expected \"<stream>\""},
	} {
		code, stdout, stderr := longline(t, append([]string{"stream"}, strings.Fields(tt.args)...)...)
		if code != tt.code || stdout != "" || !strings.HasPrefix(stderr, tt.want) {
			t.Errorf("%s: exit code %d, %q, %q; want %s", tt.args, code, stdout, stderr, tt.want)
		}
	}
}
