package api

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// servedWorld is a world with services. Backends serve billing and grid; web has an instance.
type servedWorld struct {
	*world
	set *service.Set
}

func newServedWorld(t *testing.T, c Config, change func(*Node)) *servedWorld {
	t.Helper()
	set, err := service.OpenSet(setting.Named[service.Config]{
		"billing": {Serve: true, Timeout: time.Minute, MaxAnswer: 1000, Waiting: 10},
		"grid":    {Serve: true, Timeout: time.Minute, MaxAnswer: 1000},
		"web":     {Source: registry.Source{Instances: []string{"http://127.0.0.1:1"}}},
	}, service.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.Close)
	w := newWorld(t, Config{}, router.Config{})
	c.Address = "127.0.0.1:0"
	n := w.node(t)
	n.Services = set
	change(&n)
	w.api = New(c, n)
	w.serve(t)
	return &servedWorld{w, set}
}

// ask begins a call of a device to billing; the reply comes on the channel.
func (w *servedWorld) ask(method, payload, contentType string) (replies chan *service.Reply, cancel func()) {
	replies = make(chan *service.Reply, 2)
	call := &service.Call{Device: "m-1", Method: method, Payload: []byte(payload), ContentType: contentType, Trace: "00-1-2-01"}
	return replies, w.set.Begin("billing", call, 0, func(r *service.Reply) { replies <- r })
}

// reply waits for a reply and shows it in one line.
func showReply(t *testing.T, replies chan *service.Reply) string {
	t.Helper()
	select {
	case r := <-replies:
		if r.Err.Code != "" {
			return r.Err.Code + ": " + r.Err.Reason
		}
		return r.ContentType + " " + string(r.Payload)
	case <-time.After(20 * time.Second):
		t.Fatal("no reply")
		return ""
	}
}

// serves waits until billing has n backends.
func (w *servedWorld) serves(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); len(w.set.Get("billing").Info().Backends) != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%+v, want %d backends", w.set.Get("billing").Info(), n)
		}
	}
}

// open opens the events of a service.
func (w *servedWorld) open(t *testing.T, path, token string) (r *openEvents, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+servicesPath+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := w.h1.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	leave = func() { cancel(); _ = response.Body.Close() }
	t.Cleanup(leave)
	return &openEvents{response.StatusCode, response.Body}, leave
}

// openEvents is a response that may go on.
type openEvents struct {
	status int
	body   io.Reader
}

// events opens the events of billing, and returns its lines behind the first comment.
func (w *servedWorld) events(t *testing.T, query string) (lines *bufio.Reader, leave func()) {
	t.Helper()
	response, leave := w.open(t, "billing?"+query, "")
	lines = bufio.NewReader(response.body)
	if got := readEvents(t, lines, 1); got != ": serving\n\n" {
		t.Fatalf("begins with %q", got)
	}
	return lines, leave
}

// calledEvent is a call as an event shows it.
type calledEvent struct {
	ID, Device, Method, Text, Traceparent string
	Payload                               json.RawMessage
	Reason                                string // of over
}

func readCall(t *testing.T, lines *bufio.Reader, event string) (c calledEvent) {
	t.Helper()
	text := readEvents(t, lines, 1)
	data, ok := strings.CutPrefix(text, "event: "+event+"\ndata: ")
	if err := json.Unmarshal([]byte(data), &c); !ok || err != nil {
		t.Fatalf("got %q, %v", text, err)
	}
	return c
}

// post answers a call, and returns the status and the body.
func (w *servedWorld) post(t *testing.T, path, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+servicesPath+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := w.h1.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestServeByEvents(t *testing.T) {
	w := newServedWorld(t, Config{}, func(*Node) {})
	lines, _ := w.events(t, "room=2&name=till")
	for _, tt := range []struct {
		body   string
		header []string
		status int
		want   string
	}{
		{`{"ok":true}`, []string{"Content-Type", "application/json"}, 204, `application/json {"ok":true}`},
		{"\x00\x01", []string{"Content-Type", "application/octet-stream"}, 204, "application/octet-stream \x00\x01"},
		{"7", []string{"Content-Type", "application/x-www-form-urlencoded"}, 204, "application/json 7"},
		{"fine", nil, 204, "text/plain fine"},
		{"\xff", nil, 204, " \xff"},
		{"", nil, 204, " "},
		{"no money", []string{"Longline-Error", "broke"}, 204, "broke: no money"},
		{"", []string{"Longline-Error", "Not A Code"}, 204, "failed: "},
		{strings.Repeat("x", 1001), nil, 400, "too_large: the answer of the service is too large"},
		{"x", []string{"Content-Type", strings.Repeat("x", 300)}, 400, "invalid_answer: the content type of the service's answer is missing or not valid"},
	} {
		replies, _ := w.ask("authorize", `{"tag": 7}`, "application/json")
		c := readCall(t, lines, "call")
		if c.Device != "m-1" || c.Method != "authorize" || string(c.Payload) != `{"tag":7}` || c.Traceparent != "00-1-2-01" {
			t.Errorf("the call is %+v", c)
		}
		if status, text := w.post(t, "billing/answers/"+c.ID, tt.body, tt.header...); status != tt.status {
			t.Errorf("%q: %d %s, want %d", tt.body, status, text, tt.status)
		}
		if got := showReply(t, replies); got != tt.want {
			t.Errorf("%q: the device was told %q, want %q", tt.body, got, tt.want)
		}
		if status, _ := w.post(t, "billing/answers/"+c.ID, "again"); status != 404 {
			t.Errorf("a second answer: %d", status)
		}
	}
	if b := w.set.Get("billing").Info().Backends; len(b) != 1 || b[0].Name != "till" || b[0].Room != 2 || b[0].Answered != 10 {
		t.Errorf("shown as %+v", b)
	}
}

// An answer counts only under the id that its stream got, for its service, while the device waits.
func TestServeTakesNoAnswerOfOthers(t *testing.T) {
	w := newServedWorld(t, Config{}, func(*Node) {})
	lines, leave := w.events(t, "")
	replies, cancel := w.ask("m", "", "")
	c := readCall(t, lines, "call")
	key, number, _ := strings.Cut(c.ID, "-")
	for _, path := range []string{
		"grid/answers/" + c.ID, "billing/answers/" + number, "billing/answers/-" + number, "billing/answers/" + key, "billing/answers/" + key + "-",
		"billing/answers/" + key + "-0", "billing/answers/" + strings.ToLower(key) + "-" + number, "none/answers/" + c.ID,
	} {
		if status, text := w.post(t, path, "x"); status != 404 {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if status, _ := w.post(t, "web/answers/"+c.ID, "x"); status != 400 {
		t.Errorf("a service with instances: %d", status)
	}
	cancel()
	if got := showReply(t, replies); !strings.HasPrefix(got, "canceled") {
		t.Error(got)
	}
	if over := readCall(t, lines, "over"); over.ID != c.ID || over.Reason != "canceled" {
		t.Errorf("%+v", over)
	}
	if status, _ := w.post(t, "billing/answers/"+c.ID, "x"); status != 404 {
		t.Errorf("a call that is over: %d", status)
	}
	replies, _ = w.ask("m", "", "")
	c = readCall(t, lines, "call")
	leave()
	if got := showReply(t, replies); got != "failed: the backend went away before it answered" {
		t.Error(got)
	}
	if status, _ := w.post(t, "billing/answers/"+c.ID, "x"); status != 404 {
		t.Errorf("a stream that is over: %d", status)
	}
}

func TestServeByEventsIsRefused(t *testing.T) {
	w := newServedWorld(t, Config{MaxServing: 1, Heartbeat: time.Millisecond}, func(*Node) {})
	for path, want := range map[string]string{
		"none":              "404 the configuration has no service of this name",
		"web":               "400 the service has instances of its own",
		"billing?room=0":    `400 room is "0": want 1 to 1000`,
		"billing?room=1001": "400 room is 1001: want 1 to 1000",
		"billing?x=1":       `400 "x" is not a parameter: want any of room, name`,
		"billing?name=" + strings.Repeat("x", 129): "400 name is 129 bytes long",
	} {
		r, leave := w.open(t, path, "")
		text, err := io.ReadAll(r.body)
		leave()
		if got := fmt.Sprint(r.status, " ", string(text)); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, %v; want %s", path, got, err, want)
		}
	}
	lines, leave := w.events(t, "")
	if got := readEvents(t, lines, 1); got != ": heartbeat\n\n" {
		t.Errorf("idle: %q", got)
	}
	if r, _ := w.open(t, "grid", ""); r.status != 429 {
		t.Errorf("one stream more: %d", r.status)
	}
	leave()
	w.serves(t, 0)
	for end := time.Now().Add(20 * time.Second); ; { // its place is given a moment later
		r, _ := w.open(t, "grid", "")
		if r.status == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the place of a stream that has ended is not free")
		}
	}
}

// begun opens a stream of Serve that serves billing.
func (w *servedWorld) begun(t *testing.T, c longlinev1connect.GatewayClient, begin *longlinev1.ServeBegin) *connect.BidiStreamForClient[longlinev1.ServeRequest, longlinev1.ServeResponse] {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s := c.Serve(ctx)
	begin.Service = "billing"
	if err := s.Send(&longlinev1.ServeRequest{Request: &longlinev1.ServeRequest_Begin{Begin: begin}}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Receive(); err != nil || len(r.Calls)+len(r.Ended) > 0 {
		t.Fatalf("begins with %v, %v", r, err)
	}
	return s
}

func answerTo(id uint64, a *longlinev1.ServedAnswer) *longlinev1.ServeRequest {
	a.Id = id
	return &longlinev1.ServeRequest{Request: &longlinev1.ServeRequest_Answer{Answer: a}}
}

func TestServe(t *testing.T) {
	for name, option := range map[string]connect.ClientOption{"grpc": connect.WithGRPC(), "connect": connect.WithProtoJSON(), "grpc-web": connect.WithGRPCWeb()} {
		t.Run(name, func(t *testing.T) {
			w := newServedWorld(t, Config{}, func(*Node) {})
			s := w.begun(t, longlinev1connect.NewGatewayClient(w.h2, w.url, option), &longlinev1.ServeBegin{Room: 3, Text: true})
			text, typed := "fine", "7"
			for _, tt := range []struct {
				answer *longlinev1.ServedAnswer
				want   string
				ended  string
			}{
				{&longlinev1.ServedAnswer{Payload: []byte("\x00"), ContentType: "x/y"}, "x/y \x00", ""},
				{&longlinev1.ServedAnswer{Text: &text}, "text/plain fine", ""},
				{&longlinev1.ServedAnswer{Text: &typed}, "application/json 7", ""},
				{&longlinev1.ServedAnswer{Error: &longlinev1.Error{Code: "broke", Reason: "no\nmoney"}, Payload: []byte("x")}, "broke: nomoney", ""},
				{&longlinev1.ServedAnswer{Error: new(longlinev1.Error)}, "failed: ", ""},
				{&longlinev1.ServedAnswer{Payload: make([]byte, 1001)}, "too_large: the answer of the service is too large", "too_large"},
				{&longlinev1.ServedAnswer{ContentType: "a\nb"}, "invalid_answer: the content type of the service's answer is missing or not valid", "invalid_answer"},
			} {
				replies, _ := w.ask("m", "text", "")
				r, err := s.Receive()
				if err != nil || len(r.Calls) != 1 {
					t.Fatalf("%v, %v", r, err)
				}
				c := r.Calls[0]
				if c.Device != "m-1" || c.Method != "m" || c.GetText() != "text" || c.Traceparent != "00-1-2-01" || c.Timeout.AsDuration() <= 0 || c.Again {
					t.Errorf("the call is %v", c)
				}
				if err := s.Send(answerTo(c.Id, tt.answer)); err != nil {
					t.Fatal(err)
				}
				if got := showReply(t, replies); got != tt.want {
					t.Errorf("%v: the device was told %q, want %q", tt.answer, got, tt.want)
				}
				if tt.ended == "" {
					continue
				}
				if r, err = s.Receive(); err != nil || len(r.Ended) != 1 || r.Ended[0].Id != c.Id || r.Ended[0].Reason != tt.ended {
					t.Errorf("the backend was told %v, %v; want %s", r, err, tt.ended)
				}
			}
			replies, cancel := w.ask("m", "", "")
			r, err := s.Receive()
			if err != nil {
				t.Fatal(err)
			}
			id := r.Calls[0].Id
			cancel()
			showReply(t, replies)
			for _, reason := range []string{"canceled", "unknown"} {
				if r, err = s.Receive(); err != nil || len(r.Ended) != 1 || r.Ended[0].Id != id || r.Ended[0].Reason != reason {
					t.Fatalf("%v, %v; want %s", r, err, reason)
				}
				if reason == "canceled" { // and an answer all the same
					if err := s.Send(answerTo(id, new(longlinev1.ServedAnswer))); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.CloseRequest(); err != nil { // it has no more answers
				t.Fatal(err)
			}
			if r, err := s.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("the end: %v, %v", r, err)
			}
			if got := w.ended(t, longlinev1connect.GatewayServeProcedure); got != "ok" {
				t.Errorf("observed %s", got)
			}
			w.serves(t, 0)
		})
	}
}

func TestServeIsRefused(t *testing.T) {
	w := newServedWorld(t, Config{MaxServing: 1}, func(*Node) {})
	c := w.client("grpc")
	first := func(r *longlinev1.ServeRequest) error {
		s := c.Serve(t.Context())
		if err := s.Send(r); err != nil && !errors.Is(err, io.EOF) { // EOF says that Receive has the reason
			return err
		}
		_, err := s.Receive()
		_ = s.CloseRequest()
		return err
	}
	begin := func(b *longlinev1.ServeBegin) *longlinev1.ServeRequest {
		return &longlinev1.ServeRequest{Request: &longlinev1.ServeRequest_Begin{Begin: b}}
	}
	for want, r := range map[string]*longlinev1.ServeRequest{
		"invalid_argument: begin is missing: the first":          answerTo(1, new(longlinev1.ServedAnswer)),
		"not_found: the configuration has no service":            begin(&longlinev1.ServeBegin{Service: "none"}),
		"failed_precondition: the service has instances":         begin(&longlinev1.ServeBegin{Service: "web"}),
		"invalid_argument: room is 1001: want 1 to 1000":         begin(&longlinev1.ServeBegin{Service: "billing", Room: 1001}),
		"invalid_argument: name is 129 bytes long: the limit is": begin(&longlinev1.ServeBegin{Service: "billing", Name: strings.Repeat("x", 129)}),
	} {
		if err := first(r); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		w.ended(t, longlinev1connect.GatewayServeProcedure)
	}
	s := w.begun(t, c, new(longlinev1.ServeBegin))
	if err := first(begin(&longlinev1.ServeBegin{Service: "grid"})); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("one stream more: %v", err)
	}
	if err := s.Send(begin(new(longlinev1.ServeBegin))); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Receive(); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a second begin: %v, %v", r, err)
	}
}

// A client that opens the stream and says nothing does not hold up the end of the node, nor does one that serves.
func TestServeEndsWithTheNode(t *testing.T) {
	w := newServedWorld(t, Config{}, func(*Node) {})
	serving := w.begun(t, w.client("grpc"), new(longlinev1.ServeBegin))
	silent := w.client("grpc").Serve(t.Context())
	if err := silent.Send(nil); err != nil { // the header alone
		t.Fatal(err)
	}
	lines, _ := w.events(t, "")
	w.api.Close()
	if _, err := serving.Receive(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the one that serves: %v", err)
	}
	if _, err := silent.Receive(); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("the silent one: %v", err)
	}
	if got := readEvents(t, lines, 1); !strings.HasPrefix(got, "event: ended\ndata: {\"code\":\"unavailable\"") {
		t.Errorf("events: %q", got)
	}
}

// A backend that reads nothing is cut off, whatever its protocol.
func TestServeToNobody(t *testing.T) {
	for _, protocol := range []string{"grpc", "events"} {
		t.Run(protocol, func(t *testing.T) {
			w := newServedWorld(t, Config{Stall: 50 * time.Millisecond}, func(*Node) {})
			if protocol == "grpc" {
				w.begun(t, w.client("grpc"), &longlinev1.ServeBegin{Room: 100})
			} else {
				w.events(t, "room=100")
			}
			payload := strings.Repeat("x", 256<<10)
			for range 100 {
				w.ask("m", payload, "")
			}
			w.serves(t, 0)
		})
	}
}

// The first request has to come within the time for a body; a backend that serves has no such limit.
func TestServeLastsLongerThanABody(t *testing.T) {
	w := newServedWorld(t, Config{}, func(*Node) {})
	set := make(chan time.Time, 10)
	handler := limitBodyTime(w.api.Handler(), time.Hour)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(deadlines{rw, set}, r)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	stream := w.begun(t, longlinev1connect.NewGatewayClient(w.h2, s.URL, connect.WithGRPC()), new(longlinev1.ServeBegin))
	if first := <-set; first.IsZero() {
		t.Error("the first request has no time limit")
	}
	if then := <-set; !then.IsZero() {
		t.Errorf("later requests have until %v", then)
	}
	_ = stream.CloseRequest()
	for _, err := stream.Receive(); err == nil; _, err = stream.Receive() {
	}
}

// deadlines is a ResponseWriter that tells of its read deadlines.
type deadlines struct {
	http.ResponseWriter
	set chan time.Time
}

func (d deadlines) SetReadDeadline(at time.Time) error { d.set <- at; return nil }
func (d deadlines) Unwrap() http.ResponseWriter        { return d.ResponseWriter }
func (d deadlines) Flush()                             { _ = http.NewResponseController(d.ResponseWriter).Flush() }

// A token that may not serve a service any more ends the streams that serve it.
func TestServeByToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(role string) {
		t.Helper()
		sum := sha256.Sum256([]byte("till"))
		if err := os.WriteFile(file, []byte(role+" sha256:"+hex.EncodeToString(sum[:])+" till-1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("serve:billing,grid")
	var watcher reload.Watcher
	roles, err := auth.OpenRoles(file, &watcher)
	if err != nil {
		t.Fatal(err)
	}
	w := newServedWorld(t, Config{Heartbeat: 10 * time.Millisecond, MaxServing: 2}, func(n *Node) { n.Roles = roles })
	if r, _ := w.open(t, "web", "till"); r.status != 403 {
		t.Errorf("another service: %d", r.status)
	}
	billing, _ := w.open(t, "billing", "till")
	grid, _ := w.open(t, "grid", "till")
	if b := w.set.Get("billing").Info().Backends; len(b) != 1 || b[0].Name != "till-1" {
		t.Errorf("shown as %+v", b)
	}
	write("serve:grid")
	watcher.Look()
	text, err := io.ReadAll(billing.body)
	if err != nil || !strings.Contains(string(text), "event: ended\ndata: {\"code\":\"permission_denied\"") {
		t.Errorf("%q, %v", text, err)
	}
	w.serves(t, 0)
	lines := bufio.NewReader(grid.body)
	for range 5 { // it goes on
		if got := readEvents(t, lines, 1); strings.HasPrefix(got, "event") {
			t.Fatalf("grid: %q", got)
		}
	}
	if r, _ := w.open(t, "billing", "till"); r.status != 403 {
		t.Errorf("again: %d", r.status)
	}
}
