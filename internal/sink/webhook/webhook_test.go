package webhook

import (
	"compress/gzip"
	"crypto/hmac"
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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a server that a test controls. It keeps the requests that it has answered.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, body []byte) // nil means 200
	requests []request
}

type request struct {
	path   string
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, got *http.Request) {
		body, err := io.ReadAll(got.Body)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.requests = append(r.requests, request{got.URL.RequestURI(), got.Header, body})
		answer := r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(w, body)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answers(answer func(w http.ResponseWriter, body []byte)) {
	r.mu.Lock()
	r.answer = answer
	r.mu.Unlock()
}

func (r *receiver) status(status int) {
	r.answers(func(w http.ResponseWriter, _ []byte) { w.WriteHeader(status) })
}

// take returns the requests since the last call.
func (r *receiver) take() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.requests
	r.requests = nil
	return all
}

func openTarget(t *testing.T, c Config, o pump.Options) *target {
	t.Helper()
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	o.Name, o.Lanes = "hook", 2
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	one, err := open(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Close)
	return one
}

// prepare returns the records of messages, at places from 1 on.
func prepare(t *testing.T, to pump.Target, messages ...*message.Message) []*pump.Record {
	t.Helper()
	var v route.View
	v.Node, v.Stream = 3, "telemetry"
	var all []*pump.Record
	for i, m := range messages {
		v.Reset(m)
		v.Place = uint64(i + 1)
		r := &pump.Record{Place: v.Place, Message: m}
		if err := to.Prepare(&v, r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func telemetry(payload string) *message.Message {
	return &message.Message{Topic: "device/m-7/t", Source: "m-7", Payload: []byte(payload), ContentType: message.JSON, Time: 1764268800123}
}

func numbers(n int) (all []*message.Message) {
	for i := range n {
		all = append(all, telemetry(fmt.Sprint(i+1)))
	}
	return all
}

func TestArray(t *testing.T) {
	r := newReceiver(t)
	to := openTarget(t, Config{URL: r.URL + "/in?a=b", Headers: map[string]string{"x-tenant": "7"}, Token: setting.NewSecret("sesame")}, pump.Options{})
	trace, err := message.ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if err != nil {
		t.Fatal(err)
	}
	all := prepare(t, to,
		telemetry(` {"kWh": 3.2} `),
		&message.Message{Topic: "a\"b", Payload: []byte("<ä>"), ContentType: "text/plain; charset=utf-8", Properties: []message.Property{{Key: "k", Value: "v"}}, Trace: trace},
		&message.Message{Topic: "b", Payload: []byte{0, 255}},
		&message.Message{Topic: "c"})
	if done, err := to.Send(t.Context(), all); done != 4 || err != nil {
		t.Fatal(done, err)
	}
	got := r.take()
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	want := `[{"place":"3/telemetry/1","time":"2025-11-27T18:40:00.123Z","topic":"device/m-7/t","source":"m-7","content_type":"application/json","payload":{"kWh":3.2}},` +
		`{"place":"3/telemetry/2","time":"1970-01-01T00:00:00.000Z","topic":"a\"b","content_type":"text/plain; charset=utf-8","properties":[{"key":"k","value":"v"}],` +
		`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","payload_text":"<ä>"},` +
		`{"place":"3/telemetry/3","time":"1970-01-01T00:00:00.000Z","topic":"b","payload_base64":"AP8="},` +
		`{"place":"3/telemetry/4","time":"1970-01-01T00:00:00.000Z","topic":"c"}]`
	if string(got[0].body) != want {
		t.Errorf("%s\nwant\n%s", got[0].body, want)
	}
	h := got[0].header
	if got[0].path != "/in?a=b" || h.Get("X-Tenant") != "7" || h.Get("Authorization") != "Bearer sesame" || h.Get("Content-Type") != "application/json" ||
		h.Get("Longline-Sink") != "hook" || h.Get("Longline-Signature") != "" {
		t.Errorf("%s %v", got[0].path, h)
	}
}

// One device cannot make the whole batch unreadable.
func TestStrangePayloads(t *testing.T) {
	to := openTarget(t, Config{URL: "http://127.0.0.1:1"}, pump.Options{})
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for payload, inside := range map[string]bool{
		deep(64): true, deep(65): false, deep(9999): false, `"\ud800"`: false, "\"\xff\"": false, "1,2": false, `{"a":1}]`: false, "": false, "null": true, "[1] 2": false,
		`"` + strings.Repeat("[", 100) + `"`: true,
	} {
		r := prepare(t, to, telemetry(payload))[0]
		var e struct {
			Payload json.RawMessage
			Text    string `json:"payload_text"`
			Base64  []byte `json:"payload_base64"`
		}
		if err := json.Unmarshal(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		if inside && string(e.Payload) != payload || !inside && (e.Payload != nil || e.Text+string(e.Base64) != payload) {
			t.Errorf("%.20q is %.60s", payload, r.Value)
		}
	}
}

func TestCloudEvents(t *testing.T) {
	r := newReceiver(t)
	to := openTarget(t, Config{URL: r.URL, Form: CloudEvents, Source: "urn:site", Type: "t", Subject: "s"}, pump.Options{})
	all := prepare(t, to,
		telemetry("[1]"),
		&message.Message{Topic: "a", Payload: []byte("x"), ContentType: "text/plain"},
		&message.Message{Topic: "a", Payload: []byte("[1]"), ContentType: "application/cbor"},
		&message.Message{Topic: "a", Payload: []byte("no JSON")})
	if done, err := to.Send(t.Context(), all); done != 4 || err != nil {
		t.Fatal(done, err)
	}
	got := r.take()[0]
	const zero = `"source":"urn:site","type":"t","subject":"s","time":"1970-01-01T00:00:00.000Z"`
	want := `[{"specversion":"1.0","id":"3/telemetry/1","source":"urn:site","type":"t","subject":"s","time":"2025-11-27T18:40:00.123Z","datacontenttype":"application/json","data":[1]},` +
		`{"specversion":"1.0","id":"3/telemetry/2",` + zero + `,"datacontenttype":"text/plain","data":"x"},` +
		`{"specversion":"1.0","id":"3/telemetry/3",` + zero + `,"datacontenttype":"application/cbor","data_base64":"WzFd"},` +
		`{"specversion":"1.0","id":"3/telemetry/4",` + zero + `,"datacontenttype":"application/octet-stream","data_base64":"bm8gSlNPTg=="}]`
	if string(got.body) != want || got.header.Get("Content-Type") != "application/cloudevents-batch+json" {
		t.Errorf("%s: %s\nwant\n%s", got.header.Get("Content-Type"), got.body, want)
	}
	for source, want := range map[string]string{"m-7": "device/m-7", "": "backend"} {
		to := openTarget(t, Config{URL: r.URL, Form: CloudEvents}, pump.Options{})
		var e struct{ Source string }
		if err := json.Unmarshal(prepare(t, to, &message.Message{Topic: "a", Source: source})[0].Value, &e); err != nil || e.Source != want {
			t.Errorf("%q is %q, %v", source, e.Source, err)
		}
	}
}

func TestCloudEventsBinary(t *testing.T) {
	r := newReceiver(t)
	to := openTarget(t, Config{URL: r.URL, Form: CloudEventsBinary, Subject: "\"50%\" ä"}, pump.Options{})
	all := prepare(t, to, telemetry("1"), &message.Message{Topic: "a", Payload: []byte("x"), ContentType: "a\nb"}, &message.Message{Topic: "a", Payload: []byte("2")})
	if done, err := to.Send(t.Context(), all); done != 3 || err != nil {
		t.Fatal(done, err)
	}
	got := r.take()
	if len(got) != 3 {
		t.Fatalf("%d requests", len(got))
	}
	for i, want := range []struct{ body, kind string }{{"1", "application/json"}, {"x", "application/octet-stream"}, {"2", "application/json"}} {
		h := got[i].header
		id := fmt.Sprintf("3/telemetry/%d", i+1)
		if string(got[i].body) != want.body || h.Get("Content-Type") != want.kind || h.Get("Ce-Id") != id || h.Get("Idempotency-Key") != id ||
			h.Get("Ce-Subject") != "%2250%25%22%20%C3%A4" || h.Get("Ce-Specversion") != "1.0" {
			t.Errorf("%s %v", got[i].body, h)
		}
	}
}

// A receiver that keeps the last two secrets accepts all requests while one is replaced, and notices what was changed on the way.
func TestSignature(t *testing.T) {
	r := newReceiver(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var w reload.Watcher
	to := openTarget(t, Config{URL: r.URL, Gzip: true, Secret: setting.SecretFile(file), SecondSecret: setting.NewSecret("new")}, pump.Options{Watcher: &w})
	to.now = func() time.Time { return time.Unix(1764268800, 0) }
	signatures := func() []string {
		t.Helper()
		if done, err := to.Send(t.Context(), prepare(t, to, telemetry("1"))); done != 1 || err != nil {
			t.Fatal(done, err)
		}
		got := r.take()[0]
		z, err := gzip.NewReader(strings.NewReader(string(got.body)))
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(z); err != nil || !strings.HasPrefix(string(text), "[{") || got.header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s, %v", text, err)
		}
		var names []string
		for _, secret := range []string{"old", "new", "newer"} {
			mac := hmac.New(sha256.New, []byte(secret))
			fmt.Fprintf(mac, "1764268800.%s", got.body)
			if slices.Contains(strings.Split(got.header.Get("Longline-Signature"), ","), "v1="+hex.EncodeToString(mac.Sum(nil))) {
				names = append(names, secret)
			}
		}
		if !strings.HasPrefix(got.header.Get("Longline-Signature"), "t=1764268800,") {
			t.Error(got.header.Get("Longline-Signature"))
		}
		return names
	}
	if got := signatures(); !slices.Equal(got, []string{"old", "new"}) {
		t.Errorf("signed with %v", got)
	}
	if err := os.WriteFile(file, []byte("newer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	w.Look()
	if got := signatures(); !slices.Equal(got, []string{"new", "newer"}) {
		t.Errorf("signed with %v", got)
	}
}

// The messages that a receiver refuses are found, the others are taken once each, in order.
func TestBatchesAreHalved(t *testing.T) {
	r := newReceiver(t)
	to := openTarget(t, Config{URL: r.URL}, pump.Options{})
	for _, bad := range [][]int{{1}, {7}, {13}, {1, 13}, {6, 7, 8}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}} {
		var takenAll []string
		r.answers(func(w http.ResponseWriter, body []byte) {
			var all []struct{ Payload json.Number }
			if err := json.Unmarshal(body, &all); err != nil {
				t.Error(err)
			}
			var now []string
			for _, e := range all {
				n, _ := e.Payload.Int64()
				if slices.Contains(bad, int(n)) {
					http.Error(w, "no such meter", http.StatusUnprocessableEntity)
					return
				}
				now = append(now, e.Payload.String())
			}
			takenAll = append(takenAll, now...)
		})
		all := prepare(t, to, numbers(13)...)
		var refused []int
		for len(all) > 0 {
			done, err := to.Send(t.Context(), all)
			all = all[done:]
			if err == nil {
				break
			}
			if !pump.IsRefused(err) || err.Error() != "status 422: no such meter" {
				t.Fatal(err)
			}
			refused = append(refused, int(all[0].Place))
			all = all[1:]
		}
		var want []string
		for i := range 13 {
			if !slices.Contains(bad, i+1) {
				want = append(want, fmt.Sprint(i+1))
			}
		}
		if !slices.Equal(refused, bad) || !slices.Equal(takenAll, want) {
			t.Errorf("refused %v, want %v; taken %v", refused, bad, takenAll)
		}
		if n := len(r.take()); len(bad) == 1 && n > 10 {
			t.Errorf("%d requests to find one message of 13", n)
		}
	}
}

// A receiver that takes small bodies only gets small bodies.
func TestTooLarge(t *testing.T) {
	r := newReceiver(t)
	to := openTarget(t, Config{URL: r.URL}, pump.Options{})
	n := 0
	r.answers(func(w http.ResponseWriter, body []byte) {
		if len(body) > 1000 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		n += strings.Count(string(body), `"place"`)
	})
	if done, err := to.Send(t.Context(), prepare(t, to, numbers(100)...)); done != 100 || err != nil || n != 100 {
		t.Errorf("%d are done, %d taken: %v", done, n, err)
	}
}

// What a status means. A batch that comes again has the same key, another one another key.
func TestStatuses(t *testing.T) {
	r := newReceiver(t)
	keys := make(map[string]bool)
	for status, want := range map[int]string{
		200: "taken", 204: "taken", 301: "later", 400: "refused", 401: "later", 403: "later", 404: "later", 408: "later", 409: "later", 413: "refused", 415: "later",
		422: "refused", 425: "later", 429: "later", 500: "later", 502: "later", 503: "later",
	} {
		to := openTarget(t, Config{URL: r.URL}, pump.Options{})
		r.status(status)
		all := prepare(t, to, telemetry("1"))
		for range 2 {
			done, err := to.Send(t.Context(), all)
			got := "later"
			switch {
			case err == nil && done == 1:
				got = "taken"
			case done != 0 || pump.IsMisconfigured(err):
				t.Errorf("%d: %d, %v", status, done, err)
			case pump.IsRefused(err):
				got = "refused"
			}
			if got != want {
				t.Errorf("%d is %s (%v), want %s", status, got, err, want)
			}
		}
		for _, one := range r.take() {
			keys[one.header.Get("Idempotency-Key")] = true
		}
	}
	to := openTarget(t, Config{URL: r.URL}, pump.Options{})
	r.status(200)
	if _, err := to.Send(t.Context(), prepare(t, to, telemetry("2"))); err != nil {
		t.Error(err)
	}
	keys[r.take()[0].header.Get("Idempotency-Key")] = true
	if len(keys) != 2 || keys[""] {
		t.Errorf("the keys of two batches are %v", keys)
	}
}

// A receiver whose URL or credentials are wrong stops the sink, but not when it says so for a moment.
func TestWrongURL(t *testing.T) {
	r := newReceiver(t)
	to := openTarget(t, Config{URL: r.URL}, pump.Options{})
	now := time.Now()
	to.now = func() time.Time { return now }
	all := prepare(t, to, telemetry("1"))
	send := func(status int) error {
		t.Helper()
		r.status(status)
		_, err := to.Send(t.Context(), all)
		return err
	}
	for _, step := range []struct {
		pass   time.Duration
		status int
		stops  bool
	}{
		{0, 404, false},
		{59 * time.Second, 404, false},
		{time.Second, 503, false},
		{time.Second, 404, false},
		{59 * time.Second, 401, false},
		{time.Second, 403, true},
		{time.Second, 403, false}, // resumed
		{59 * time.Second, 403, false},
		{time.Second, 403, true},
	} {
		now = now.Add(step.pass)
		if err := send(step.status); pump.IsMisconfigured(err) != step.stops {
			t.Errorf("%+v: %v", step, err)
		}
	}
}

// A firewall in front of the receiver that reads messages, and answers 403 for some, is no wrong URL: these are found and refused, after a while.
func TestFirewall(t *testing.T) {
	r := newReceiver(t)
	to := openTarget(t, Config{URL: r.URL}, pump.Options{})
	now := time.Now()
	to.now = func() time.Time { return now }
	r.answers(func(w http.ResponseWriter, body []byte) {
		if strings.Contains(string(body), "evil") {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	all := prepare(t, to, telemetry("1"), telemetry("2"), telemetry(`"evil"`), telemetry("4"), telemetry("5"))
	for range 6 {
		if done, err := to.Send(t.Context(), all); done != 0 || err == nil || pump.IsRefused(err) || pump.IsMisconfigured(err) {
			t.Fatal(done, err)
		}
		now = now.Add(10 * time.Second)
		if done, err := to.Send(t.Context(), prepare(t, to, telemetry("good"))); done != 1 || err != nil { // from another lane
			t.Fatal(done, err)
		}
	}
	if done, err := to.Send(t.Context(), all); done != 2 || !pump.IsRefused(err) {
		t.Fatal(done, err)
	}
	if done, err := to.Send(t.Context(), all[3:]); done != 2 || err != nil {
		t.Fatal(done, err)
	}
	if n := len(to.doubts.since); n != 0 {
		t.Errorf("%d records are remembered", n)
	}
}

// Retry-After is passed on, from whatever answer.
func TestRetryAfter(t *testing.T) {
	r := newReceiver(t)
	for _, status := range []int{404, 429, 500, 503} {
		to := openTarget(t, Config{URL: r.URL}, pump.Options{})
		r.answers(func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		})
		_, err := to.Send(t.Context(), prepare(t, to, telemetry("1")))
		if d := pump.Pause(err); d != 7*time.Second {
			t.Errorf("%d: %v has a pause of %v", status, err, d)
		}
	}
}

// An answer is bounded, and so is the time for it.
func TestBadReceivers(t *testing.T) {
	r := newReceiver(t)
	to := openTarget(t, Config{URL: r.URL, Timeout: 50 * time.Millisecond}, pump.Options{})
	release := make(chan struct{})
	r.answers(func(http.ResponseWriter, []byte) { <-release })
	if done, err := to.Send(t.Context(), prepare(t, to, telemetry("1"))); done != 0 || !errors.Is(err, service.ErrTimeout) {
		t.Error(done, err)
	}
	close(release)
	to = openTarget(t, Config{URL: r.URL}, pump.Options{})
	r.answers(func(w http.ResponseWriter, _ []byte) { _, _ = w.Write(make([]byte, maxAnswer+1)) })
	if done, err := to.Send(t.Context(), prepare(t, to, telemetry("1"))); done != 0 || !errors.Is(err, service.ErrTooLarge) {
		t.Error(done, err)
	}
	r.answers(func(w http.ResponseWriter, _ []byte) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("a\x00\x1b[31m\n" + strings.Repeat("x", 10_000)))
	})
	if _, err := to.Send(t.Context(), prepare(t, to, telemetry("1"))); err == nil || len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\x00\x1b\n") {
		t.Errorf("%q", err)
	}
}

// A service of the configuration is used as it is, and not closed.
func TestService(t *testing.T) {
	bad, good := newReceiver(t), newReceiver(t)
	bad.status(http.StatusServiceUnavailable)
	set, err := service.OpenSet(setting.Named[service.Config]{
		"hooks":  {Source: registry.Source{Instances: []string{bad.URL + "/api", good.URL + "/api"}}, Choose: service.RoundRobin},
		"served": {Serve: true},
		"grpc":   {Source: registry.Source{Instances: []string{good.URL}}, Protocol: service.GRPC},
	}, service.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	o := pump.Options{Services: set}
	to := openTarget(t, Config{Service: "hooks", Path: "/in"}, o)
	for range 4 {
		if done, err := to.Send(t.Context(), prepare(t, to, telemetry("1"))); done != 1 || err != nil {
			t.Error(done, err)
		}
	}
	if got := good.take(); len(got) != 4 || got[0].path != "/api/in" {
		t.Errorf("%d requests", len(got))
	}
	to.Close()
	if _, err := set.Get("hooks").Do(t.Context(), &service.Request{Method: "GET", Idempotent: true}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"served", "grpc"} {
		to := openTarget(t, Config{Service: name}, o)
		if _, err := to.Send(t.Context(), prepare(t, to, telemetry("1"))); !pump.IsMisconfigured(err) {
			t.Error(err)
		}
	}
	if _, err := Open(Config{Service: "nobody"}.WithDefaults(), o); err == nil || !strings.HasPrefix(err.Error(), "service: ") {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	secret := setting.NewSecret("a")
	for want, c := range map[string]Config{
		"":                       {URL: "https://h/p"},
		"url: want url or":       {},
		"url: want url or serv":  {URL: "http://h", Service: "a"},
		"url: want an http":      {URL: "ftp://h"},
		"url: it has a password": {URL: "http://u:p@h"},
		"tls: the service has":   {Service: "a", TLS: setting.TLS{CA: "x"}},
		"url: tls.cert: want":    {URL: "https://h", TLS: setting.TLS{Cert: "x"}},
		"path: want a path":      {Service: "a", Path: "x"},
		"path: it is in url":     {URL: "http://h", Path: "/x"},
		"form: want one of":      {URL: "http://h", Form: "xml"},
		"timeout: want":          {URL: "http://h", Timeout: 1},
		"second_secret: want":    {URL: "http://h", SecondSecret: secret},
		"headers.a b: HTTP":      {URL: "http://h", Headers: map[string]string{"a b": ""}},
		"headers.a: HTTP":        {URL: "http://h", Headers: map[string]string{"a": "\n"}},
		"headers.host: the sink": {URL: "http://h", Headers: map[string]string{"host": "x"}},
		"headers.Authorization":  {URL: "http://h", Headers: map[string]string{"Authorization": "x"}, Token: secret},
	} {
		err := c.WithDefaults().Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
	_, err := Open(Config{URL: "http://h", Token: setting.NewSecret("a\nb")}.WithDefaults(), pump.Options{Log: slog.Default(), Lanes: 1})
	if err == nil || !strings.HasPrefix(err.Error(), "token: ") {
		t.Error(err)
	}
}
