package api

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// get returns the status and body of a response that ends by itself.
func (w *world) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	r, err := w.h1.Get(w.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// listen opens a stream of events and returns its lines, after the first comment.
func (w *world) listen(t *testing.T, query string) *bufio.Reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+eventsPath+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := w.h1.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); response.Body.Close() })
	if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("status %d, type %s", response.StatusCode, got)
	}
	lines := bufio.NewReader(response.Body)
	if got := readEvents(t, lines, 1); got != ": subscribed\n\n" {
		t.Fatalf("begins with %q", got)
	}
	return lines
}

var eventID = regexp.MustCompile(`(?m)^id: \d+$`)

// readEvents reads n events, with N in place of their ids.
func readEvents(t *testing.T, r *bufio.Reader, n int) string {
	t.Helper()
	var b strings.Builder
	for n > 0 {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %q: %v", b.String(), err)
		}
		b.WriteString(line)
		if line == "\n" {
			n--
		}
	}
	return eventID.ReplaceAllString(b.String(), "id: N")
}

func TestEvents(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	lines := w.listen(t, "filter=device/%2B/telemetry&filter=raw/%23&qos=1")
	for _, m := range []*message.Message{
		{Topic: "device/a/telemetry", Payload: []byte("{\"v\": 1,\n \"s\":\"<&>\"}\n"), ContentType: message.JSON, QoS: 1, Source: "a"},
		{Topic: "device/b/telemetry", Payload: []byte("{"), ContentType: message.JSON},
		{Topic: "raw/x", Payload: []byte("on\nid: 1"), ContentType: "text/plain", Properties: []message.Property{{Key: "k\n", Value: `"`}, {Key: "l", Value: "v"}}},
		{Topic: "raw/\nid: 7", QoS: 1, Retain: true},
	} {
		m.Time = 1_700_000_000_123
		if _, err := w.router.Publish(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	want := `id: N
event: message
data: {"topic":"device/a/telemetry","payload":{"v":1,"s":"<&>"},"qos":1,"ts":1700000000123,"source":"a"}

id: N
event: message
data: {"topic":"device/b/telemetry","data":"ew==","type":"application/json","qos":0,"ts":1700000000123}

id: N
event: message
data: {"topic":"raw/x","text":"on\nid: 1","type":"text/plain","qos":0,"ts":1700000000123,"props":{"k\n":"\"","l":"v"}}

id: N
event: message
data: {"topic":"raw/\nid: 7","data":"","qos":1,"ts":1700000000123}

`
	if got := readEvents(t, lines, 4); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestEventsShowTheRetainedAndTheMissed(t *testing.T) {
	w := newWorld(t, Config{Heartbeat: time.Millisecond}, router.Config{})
	if _, err := publish(t.Context(), w.client("grpc"), &longlinev1.Message{Topic: "a", Payload: []byte("x"), Retain: true}); err != nil {
		t.Fatal(err)
	}
	lines := w.listen(t, "filter=a&retained=true&buffer_messages=9&buffer_bytes=9")
	if got := readEvents(t, lines, 1); !strings.Contains(got, `"text":"x","qos":0,"retain":true`) {
		t.Errorf("retained: %s", got)
	}
	if got := readEvents(t, lines, 1); got != ": heartbeat\n\n" {
		t.Errorf("idle: %q", got)
	}
	var e eventWriter
	if err := e.batch(nil, 12); err != nil || e.buf.String() != "event: missed\ndata: {\"missed\":12}\n\n" {
		t.Errorf("missed: %q, %v", e.buf.String(), err)
	}
}

func TestEventsAreRefused(t *testing.T) {
	w := newWorld(t, Config{MaxSubscribers: 1}, router.Config{})
	for query, want := range map[string]string{
		"":                                 "filter is missing",
		"filter=a&filter=b/%23/c":          `filter "b/#/c" level 2 is '#', which must be the last`,
		"filter=a&qos=2":                   "qos is 2: want 0 or 1",
		"filter=a&qos=x":                   `qos is "x": want a number`,
		"filter=a&qos=1&qos=1":             "qos is given twice",
		"filter=a&retained=perhaps":        `retained is "perhaps": want true or false`,
		"filter=a&buffer_bytes=-1":         `buffer_bytes is "-1": want a number`,
		"filter=a&buffer_messages=9e9":     `buffer_messages is "9e9": want a number`,
		"filter=a&buffer_bytes=9999999999": "buffer_bytes is 9999999999: the limit is 268435456",
		"filters=a":                        `"filters" is not a parameter: want any of filter, qos, retained, buffer_messages, buffer_bytes`,
		"filter=%zz":                       "query does not parse",
	} {
		if status, body := w.get(t, eventsPath+"?"+query); status != 400 || !strings.HasPrefix(body, want) {
			t.Errorf("%s: got %d %s; want 400 %s", query, status, body, want)
		}
		if code := w.ended(t, eventsPath); code != "invalid_argument" {
			t.Errorf("%s: observed %s", query, code)
		}
	}
	w.listen(t, "filter=a")
	if status, body := w.get(t, eventsPath+"?filter=a"); status != 429 || body != "1 subscriptions are open, which is the limit\n" {
		t.Errorf("the bound: %d %s", status, body)
	}
}

func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"filter=a&filter=%2B/b&qos=1&retained=1", "filter=a&buffer_bytes=9", "filter=%zz", "qos=99999999999", "filter=a;b"} {
		f.Add(seed)
	}
	c := Config{}.WithDefaults()
	f.Fuzz(func(t *testing.T, query string) {
		s, err := c.queried(query)
		if err != nil {
			if label(err) != "invalid_argument" {
				t.Errorf("%q: %v", query, err)
			}
			return
		}
		if len(s.filters) == 0 || s.qos > 1 || s.buffer.Messages > c.MaxInbox.Messages || s.buffer.Bytes > c.MaxInbox.Bytes {
			t.Errorf("%q: %+v", query, s)
		}
	})
}
