package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/setting"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// rawServer answers each request, once its header is read, by what answer writes. It closes the connection when answer says so.
func rawServer(t *testing.T, answer func(w io.Writer) (last bool)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	life, end := context.WithCancel(context.Background())
	t.Cleanup(func() { end(); _ = l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				defer context.AfterFunc(life, func() { _ = c.Close() })()
				from := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(from)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if answer(c) {
						return
					}
				}
			})
		}
	})
	return "http://" + l.Addr().String()
}

// flood writes text until nobody reads it.
func flood(begin, text string) func(io.Writer) bool {
	return func(w io.Writer) bool {
		_, err := io.WriteString(w, begin)
		for err == nil {
			_, err = io.WriteString(w, text)
		}
		return true
	}
}

func writes(text string) func(io.Writer) bool {
	return func(w io.Writer) bool { _, err := io.WriteString(w, text); return err != nil }
}

// What an instance answers wrongly is a clear refusal, and never more: the next call is answered.
func TestBadAnswers(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\n"
	good := head + "Content-Length: 2\r\n\r\nok"
	for _, c := range []struct {
		name   string
		answer func(io.Writer) bool
		code   string
		accept string
	}{
		{name: "good", answer: writes(good)},
		{name: "after an informational one", answer: writes("HTTP/1.1 103 Early Hints\r\n\r\n" + good)},
		{name: "HTTP/1.0, up to the end", answer: func(w io.Writer) bool { _, _ = io.WriteString(w, "HTTP/1.0 200 OK\r\n\r\nok"); return true }},
		{name: "not HTTP", answer: writes("220 mail.example ESMTP\r\n"), code: InvalidAnswer},
		{name: "no status", answer: writes("HTTP/1.1 OK\r\n\r\n"), code: InvalidAnswer},
		{name: "noise", answer: flood("", "\x00\x01\xff"), code: InvalidAnswer},
		{name: "a line without end", answer: flood("HTTP/1.1 200 ", "OK"), code: InvalidAnswer},
		{name: "headers without end", answer: flood(head, "X-A: "+strings.Repeat("a", 100)+"\r\n"), code: InvalidAnswer},
		{name: "informational ones without end", answer: flood("", "HTTP/1.1 100 Continue\r\n\r\n"), code: InvalidAnswer},
		{name: "another protocol", answer: writes("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), code: InvalidAnswer},
		{name: "a negative length", answer: writes(head + "Content-Length: -1\r\n\r\n"), code: InvalidAnswer},
		{name: "two lengths", answer: writes(head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nok"), code: InvalidAnswer},
		{name: "an unknown encoding of the transfer", answer: writes(head + "Transfer-Encoding: rot13\r\n\r\nok"), code: InvalidAnswer},
		{name: "chunks that are none", answer: writes(head + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), code: InvalidAnswer},
		{name: "one byte more than allowed", answer: writes(head + "Content-Length: 1001\r\n\r\n"), code: TooLarge},
		{name: "chunks without end", answer: flood(head+"Transfer-Encoding: chunked\r\n\r\n", "10\r\n0123456789abcdef\r\n"), code: TooLarge},
		{name: "a body without end", answer: flood(head+"\r\n", "0123456789abcdef"), code: TooLarge},
		{name: "trailers without end", answer: flood(head+"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "X-A: "+strings.Repeat("a", 100)+"\r\n"), code: InvalidAnswer},
		{name: "less than it says", answer: func(w io.Writer) bool { _, _ = io.WriteString(w, head+"Content-Length: 9\r\n\r\nok"); return true }, code: Failed},
		{name: "nothing", answer: func(io.Writer) bool { return true }, code: Failed},
		{name: "a redirection", answer: writes("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), code: InvalidAnswer},
		{name: "compressed", answer: writes(head + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"), code: InvalidAnswer},
		{name: "a content type that is none", answer: writes(head + "Content-Type: a b\r\nContent-Length: 2\r\n\r\nok"), code: InvalidAnswer},
		{name: "a content type with a control character", answer: writes(head + "Content-Type: a/b; c=\"\x01\"\r\nContent-Length: 2\r\n\r\nok"), code: InvalidAnswer},
		{name: "another content type", answer: writes(head + "Content-Type: text/html\r\nContent-Length: 2\r\n\r\nok"), code: InvalidAnswer, accept: "application/json"},
		{name: "no content type", answer: writes(good), code: InvalidAnswer, accept: "application/json"},
		{name: "the accepted type", answer: writes(head + "Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\nok"), accept: "application/json"},
		{name: "two answers", answer: writes(good + head + "Content-Length: 4\r\n\r\nevil")},
		{name: "a status of a proxy", answer: writes("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"), code: Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			config := Config{Source: registry.Source{Instances: []string{rawServer(t, c.answer)}}, MaxAnswer: 1000, Timeout: 30 * time.Second}
			if c.accept != "" {
				config.Accept = []string{c.accept}
			}
			s := openSet(t, setting.Named[Config]{"billing": config})
			for range 3 {
				r := s.ask(t, "billing", &Call{Device: "m-7", Method: "x"})
				if r.Err.Code != c.code || (c.code == "") != (string(r.Payload) == "ok") || (c.code == "") != (r.Err.Reason == "") ||
					strings.Contains(r.Err.Reason, "127.0.0.1") {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// An answer that comes slowly ends with the call's time.
func TestSlowAnswers(t *testing.T) {
	for _, text := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"} {
		url := rawServer(t, func(w io.Writer) bool {
			_, err := io.WriteString(w, text)
			for err == nil {
				time.Sleep(5 * time.Millisecond)
				_, err = io.WriteString(w, "x")
			}
			return true
		})
		if text == "" {
			url = rawServer(t, func(w io.Writer) bool { _, _ = w.(net.Conn).Read(make([]byte, 1)); return true })
		}
		s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: []string{url}}, Timeout: 50 * time.Millisecond}})
		if r := s.ask(t, "billing", &Call{Device: "m-7", Method: "x"}); r.Err.Code != Timeout {
			t.Errorf("after %q: %+v", text, r)
		}
	}
}

// A connection that the instance has closed meanwhile is not used: the call would be lost without being repeated.
func TestClosedConnections(t *testing.T) {
	url := rawServer(t, func(w io.Writer) bool {
		_, _ = io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return true
	})
	s := openService(t, Config{Source: registry.Source{Instances: []string{url}}})
	host := strings.TrimPrefix(url, "http://")
	h := s.pool.plain.(*http1)
	for range 20 {
		if _, err := s.get(t, false); err != nil {
			t.Fatal(err)
		}
		c := h.takeIdle(host)
		if c == nil {
			continue // it was closed before it could become idle
		}
		for c.open() { // until the end of the connection has arrived
			time.Sleep(time.Millisecond)
		}
		h.keep(host, c)
	}
}

// Connections are used again, those that are idle for long are closed, and all when the service is closed.
func TestIdleConnections(t *testing.T) {
	var mu sync.Mutex
	opened, closed := 0, make(chan struct{}, 10)
	b := httptest.NewUnstartedServer(says("good"))
	b.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			mu.Lock()
			opened++
			mu.Unlock()
		case http.StateClosed:
			closed <- struct{}{}
		}
	}
	b.Start()
	defer b.Close()
	s := openService(t, Config{Source: registry.Source{Instances: []string{b.URL}}})
	for _, end := range []func(){func() { s.pool.plain.sweep(time.Now().Add(idleTime + time.Second)) }, s.Close} {
		for range 10 {
			if _, err := s.get(t, false); err != nil {
				t.Fatal(err)
			}
		}
		s.pool.plain.sweep(time.Now())
		if len(closed) != 0 {
			t.Error("a connection is closed early")
		}
		end()
		<-closed
	}
	mu.Lock()
	defer mu.Unlock()
	if opened != 2 {
		t.Errorf("%d connections", opened)
	}
}

// What would end a header never gets into one.
func TestNoInjection(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, len(r.Header), r.Header["Content-Type"])
	})
	s := openSet(t, setting.Named[Config]{"billing": {Source: registry.Source{Instances: []string{b.URL}}}})
	r := s.ask(t, "billing", &Call{Device: "m-7", Method: "x", ContentType: "a\r\nX-Evil: 1", Trace: "b\nc"})
	if string(r.Payload) != "3 []" && r.Err.Code != "" {
		t.Errorf("%+v %s", r, r.Payload)
	}
	one := s.Get("billing")
	for _, bad := range []*Request{
		{Method: "GET", Path: "/a b"}, {Method: "GET", Path: "/a\r\nX: 1"}, {Method: "GE T", Path: "/"},
		{Method: "GET", Header: http.Header{"X": {"a\r\nb"}}}, {Method: "GET", Header: http.Header{"X\n": {"a"}}},
	} {
		if _, err := one.Do(t.Context(), bad); !errors.Is(err, errRequest) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// handler implements longline.v1.Backend.
type handler func(*longlinev1.HandleCallRequest) (*longlinev1.HandleCallResponse, error)

func (h handler) HandleCall(_ context.Context, r *connect.Request[longlinev1.HandleCallRequest]) (*connect.Response[longlinev1.HandleCallResponse], error) {
	m, err := h(r.Msg)
	return connect.NewResponse(m), err
}

func TestGRPC(t *testing.T) {
	path, h := longlinev1connect.NewBackendHandler(handler(func(r *longlinev1.HandleCallRequest) (*longlinev1.HandleCallResponse, error) {
		switch r.Method {
		case "echo":
			text := fmt.Sprint(r.Device, " ", r.Node, " ", r.Id != 0, " ", r.ContentType, " ", r.Trace, " ", string(r.Payload))
			return &longlinev1.HandleCallResponse{Payload: []byte(text), ContentType: "text/plain"}, nil
		case "refuse":
			return &longlinev1.HandleCallResponse{Error: &longlinev1.CallError{Code: "no_funds", Reason: "not enough"}}, nil
		case "large":
			return &longlinev1.HandleCallResponse{Payload: make([]byte, 1<<20)}, nil
		case "status":
			return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("not now"))
		}
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("elsewhere"))
	}))
	mux := http.NewServeMux()
	mux.Handle(path, h)
	mux.HandleFunc("/healthz", says("well"))
	b := httptest.NewUnstartedServer(mux)
	b.Config.Protocols = new(http.Protocols)
	b.Config.Protocols.SetUnencryptedHTTP2(true)
	b.Start()
	defer b.Close()
	other := newBackend(t, says("not gRPC"))
	of := func(url string) Config {
		return Config{Source: registry.Source{Instances: []string{url}}, Protocol: GRPC}
	}
	s := openSet(t, setting.Named[Config]{"billing": of(b.URL), "away": of(nobody(t)), "other": of(other.URL)})
	for _, c := range []struct{ service, method, code, text string }{
		{"billing", "echo", "", "m-7 3 true text/x t \x00x"},
		{"billing", "refuse", "no_funds", "not enough"},
		{"billing", "large", TooLarge, ""},
		{"billing", "status", "failed_precondition", "not now"},
		{"billing", "elsewhere", Failed, "the service has answered with status 503"},
		{"away", "x", Unavailable, ""},
	} {
		r := s.ask(t, c.service, &Call{Device: "m-7", Method: c.method, Payload: []byte("\x00x"), ContentType: "text/x", Trace: "t"})
		if r.Err.Code != c.code || c.text != "" && string(r.Payload)+r.Err.Reason != c.text {
			t.Errorf("%s: %q, %+v", c.method, r.Payload, r.Err)
		}
	}
	if r := s.ask(t, "other", &Call{Device: "m-7", Method: "x"}); r.Err.Code == "" {
		t.Errorf("not gRPC: %+v", r)
	}
	p := s.Get("billing").pool
	if err := p.ask(t.Context(), (*p.instances.Load())[0]); err == nil {
		t.Error("a probe without a path passes")
	}
	p.config.Probe = Probe{Path: "/healthz", Every: time.Minute}
	if err := p.ask(t.Context(), (*p.instances.Load())[0]); err != nil {
		t.Errorf("a probe: %v", err)
	}
}

// The gateway's own calls over gRPC are of any method, with the bytes of messages; a request is the same when it is repeated.
func TestGRPCMethods(t *testing.T) {
	const path = "/other.Service/Method"
	mux := http.NewServeMux()
	tries := 0
	mux.Handle(path, connect.NewUnaryHandler(path, func(_ context.Context, r *connect.Request[wrapperspb.StringValue]) (*connect.Response[wrapperspb.StringValue], error) {
		switch tries++; {
		case r.Msg.Value == "twice" && tries == 1:
			return nil, connect.NewError(connect.CodeUnavailable, errors.New("not yet"))
		case r.Msg.Value == "refuse":
			e := connect.NewError(connect.CodeInvalidArgument, errors.New("not this"))
			if d, err := connect.NewErrorDetail(r.Msg); err == nil {
				e.AddDetail(d)
			}
			return nil, e
		case r.Msg.Value == "large":
			return connect.NewResponse(wrapperspb.String(strings.Repeat("x", 2000))), nil
		}
		return connect.NewResponse(wrapperspb.String(r.Msg.Value + "!")), nil
	}))
	instance := func() string {
		b := httptest.NewUnstartedServer(mux)
		b.Config.Protocols = new(http.Protocols)
		b.Config.Protocols.SetUnencryptedHTTP2(true)
		b.Start()
		t.Cleanup(b.Close)
		return b.URL
	}
	s := openService(t, Config{Source: registry.Source{Instances: []string{instance(), instance()}}, Protocol: GRPC, MaxAnswer: 1000})
	t.Cleanup(s.Close) // before the instances
	for _, c := range []struct{ ask, answer, code string }{{"twice", "twice!", ""}, {"refuse", "not this", "invalid_argument"}, {"\x00", "\x00!", ""}} {
		tries = 0
		body, err := proto.Marshal(wrapperspb.String(c.ask))
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Do(t.Context(), &Request{Path: path, Body: body, Idempotent: true})
		if err != nil || a.Code != c.code {
			t.Errorf("%s: %+v, %v", c.ask, a, err)
			continue
		}
		text := string(a.Body)
		if c.code == "" {
			var m wrapperspb.StringValue
			if err := proto.Unmarshal(a.Body, &m); err != nil {
				t.Error(err)
			}
			text = m.Value
		}
		if text != c.answer {
			t.Errorf("%s: %q", c.ask, text)
		}
	}
	body, _ := proto.Marshal(wrapperspb.String("large"))
	if a, err := s.Do(t.Context(), &Request{Path: path, Body: body}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%+v, %v", a, err)
	}
}

// An instance that fails its probe gets no calls until it passes one; never more than half of them are left out.
func TestProbes(t *testing.T) {
	well := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }
	sick := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	a, b, c := newBackend(t, well), newBackend(t, well), newBackend(t, well)
	s := openService(t, Config{Source: registry.Source{Instances: urls(a, b, c)}, Choose: RoundRobin, Probe: Probe{Path: "/healthz", Every: 100 * time.Millisecond}})
	unwell := func() (n int) {
		for _, i := range s.Info().Instances {
			if i.Unwell {
				n++
			}
		}
		return n
	}
	wait := func(want int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); unwell() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d are left out, want %d", unwell(), want)
			}
		}
	}
	a.become(sick)
	wait(1)
	for range 9 {
		if r, err := s.get(t, false); err != nil || r.Instance == a.URL {
			t.Errorf("%+v, %v", r, err)
		}
	}
	b.become(sick)
	c.become(sick)
	before := b.count() + c.count()
	for end := time.Now().Add(20 * time.Second); b.count()+c.count() < before+6 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // until both were asked again
	}
	if n := unwell(); n != 1 {
		t.Errorf("%d of 3 are left out", n)
	}
	a.become(well)
	b.become(well)
	c.become(well)
	wait(0)
}
