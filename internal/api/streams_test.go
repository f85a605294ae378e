package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/stream"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// newStreams returns a world with a stream "log", which has what is published below t/, one named "empty", and "small", which
// drops what is old.
func newStreams(t testing.TB, c Config) *world {
	t.Helper()
	w := newWorld(t, c, router.Config{})
	n := w.node(t)
	n.Streams = openStreams(t, w.router)
	c.Address = "127.0.0.1:0"
	w.api = New(c, n)
	w.serve(t)
	return w
}

func openStreams(t testing.TB, r *router.Router) *stream.Set {
	t.Helper()
	sections := setting.Named[stream.Config]{
		"log":   {Filters: []string{"t/#"}, MaxBytes: 64 << 20},
		"empty": {Filters: []string{"nothing"}, WhenFull: stream.Refuse, MaxAge: time.Hour, MaxBytes: 16 << 20},
		"small": {Filters: []string{"s/#"}, MaxBytes: 16 << 20},
	}
	set, err := stream.Open(t.TempDir(), sections.WithDefaults(), stream.Options{
		Router: r, Store: store.NewMemory(store.Options{}), MaxRecord: 1 << 20, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
	return set
}

// A consumer with a name holds up a stream that refuses, and has one of its places: who may only read has none.
func TestConsumersNeedOperate(t *testing.T) {
	w := newDoor(t, func(_ *Config, n *Node) { n.Streams = openStreams(t, n.Router) })
	for _, tt := range []struct {
		token, query string
		header       []string
		want         int
	}{
		{"read token", "", nil, 200},
		{"read token", "?consumer=c", nil, 403},
		{"read token", "?consumer=c", []string{"Last-Event-ID", "0"}, 403},
		{"operate token", "?consumer=c", nil, 200},
	} {
		status, _ := w.do(t, "GET", "/v1/streams/log"+tt.query, "", append(tt.header, "Authorization", "Bearer "+tt.token)...)
		if status != tt.want {
			t.Errorf("%s with %s and %v: %d, want %d", tt.query, tt.token, tt.header, status, tt.want)
		}
	}
	r := connect.NewRequest(&longlinev1.ConsumeRequest{Stream: "log", Consumer: "c"})
	r.Header().Set("Authorization", "Bearer read token")
	s, err := w.client("grpc").Consume(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Receive() || connect.CodeOf(s.Err()) != connect.CodePermissionDenied {
		t.Errorf("gRPC: %v", s.Err())
	}
}

// put publishes messages from-to with QoS 1 on t/N, and returns when they are in the stream.
func (w *world) put(t testing.TB, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		m := &message.Message{Topic: "t/" + strconv.Itoa(i), Payload: fmt.Appendf(nil, `{"n": %d}`, i), QoS: 1, Source: "d", Time: time.Now().UnixMilli()}
		if n, err := w.api.publishAcknowledged(t.Context(), m); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
}

type consumed = connect.ServerStreamForClient[longlinev1.ConsumeResponse]

// consuming opens a reader and returns it, with the first response.
func consuming(t testing.TB, c longlinev1connect.GatewayClient, r *longlinev1.ConsumeRequest) *consumed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := c.Consume(ctx, connect.NewRequest(r))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = s.Close() })
	if !s.Receive() || len(s.Msg().Entries) > 0 || s.Msg().Missed != 0 {
		t.Fatalf("want an empty response first, got %v, %v", s.Msg(), s.Err())
	}
	return s
}

// topics collects the next n entries and returns their topics.
func topics(t testing.TB, s *consumed, n int) string {
	t.Helper()
	var list []string
	for len(list) < n && s.Receive() {
		for _, e := range s.Msg().Entries {
			list = append(list, e.Message.Topic)
		}
	}
	if len(list) != n {
		t.Fatalf("got %d entries, want %d: %v", len(list), n, s.Err())
	}
	return strings.Join(list, " ")
}

func acknowledge(ctx context.Context, c longlinev1connect.GatewayClient, name, consumer, place string) error {
	_, err := c.Acknowledge(ctx, connect.NewRequest(&longlinev1.AcknowledgeRequest{Stream: name, Consumer: consumer, Place: place}))
	return err
}

func describe(t testing.TB, c longlinev1connect.GatewayClient, name string) *longlinev1.Stream {
	t.Helper()
	r, err := c.GetStream(t.Context(), connect.NewRequest(&longlinev1.GetStreamRequest{Stream: name}))
	if err != nil {
		t.Fatal(err)
	}
	return r.Msg.Stream
}

// eachStreamProtocol runs a test with each protocol.
func eachStreamProtocol(t *testing.T, test func(t *testing.T, w *world, c longlinev1connect.GatewayClient)) {
	for _, protocol := range []string{"grpc", "grpc-web", "json"} {
		t.Run(protocol, func(t *testing.T) {
			w := newStreams(t, Config{})
			test(t, w, w.client(protocol))
		})
	}
}

func TestConsumeShowsAllOfAnEntry(t *testing.T) {
	eachStreamProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		at := time.UnixMilli(1_700_000_000_123)
		m := &message.Message{
			Topic:       "t/x",
			Payload:     []byte{1, 0xff},
			ContentType: "application/octet-stream",
			Properties:  []message.Property{{Key: "k", Value: "v"}},
			Source:      "d",
			Time:        at.UnixMilli(),
			QoS:         1,
		}
		if _, err := w.api.publishAcknowledged(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		s := consuming(t, c, &longlinev1.ConsumeRequest{Stream: "log", ToEnd: true, Text: true})
		if first := s.Msg(); first.Place != "0" || first.Behind != 1 {
			t.Errorf("the first response: %v", first)
		}
		if !s.Receive() || len(s.Msg().Entries) != 1 {
			t.Fatal(s.Msg(), s.Err())
		}
		got := s.Msg()
		want := &longlinev1.Message{
			Topic:       "t/x",
			Payload:     []byte{1, 0xff},
			ContentType: "application/octet-stream",
			Properties:  []*longlinev1.Property{{Key: "k", Value: "v"}},
			Source:      "d",
			Ts:          timestamppb.New(at),
			Qos:         1,
			Id:          got.Entries[0].Message.Id,
		}
		if e := got.Entries[0]; !proto.Equal(e.Message, want) || e.Place != "1" || got.Place != "1" || got.Behind != 0 || e.Message.Id == 0 {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if s.Receive() || s.Err() != nil {
			t.Errorf("after the end: %v, %v", s.Msg(), s.Err())
		}
	})
}

func TestConsumeBeginsWhereItIsAsked(t *testing.T) {
	w := newStreams(t, Config{})
	c := w.client("grpc")
	w.put(t, 1, 4)
	open := map[string]*consumed{}
	wanted := map[string]string{
		"":                          "t/1 t/2 t/3 t/4 t/5",
		"first":                     "t/1 t/2 t/3 t/4 t/5",
		"latest":                    "t/5",
		"0":                         "t/1 t/2 t/3 t/4 t/5",
		"3":                         "t/4 t/5",
		"4":                         "t/5",
		"2020-01-01T00:00:00Z":      "t/1 t/2 t/3 t/4 t/5",
		"2120-01-01T00:00:00+02:00": "t/5",
	}
	for after, want := range wanted {
		open[after] = consuming(t, c, &longlinev1.ConsumeRequest{Stream: "log", After: after})
		if at := open[after].Msg().Behind; int(at) != strings.Count(want, " ") {
			t.Errorf("after %q: %d behind", after, at)
		}
	}
	w.put(t, 5, 5)
	for after, want := range wanted {
		if got := topics(t, open[after], 1+strings.Count(want, " ")); got != want {
			t.Errorf("after %q: %s, want %s", after, got, want)
		}
	}
}

func TestConsumerGoesOnBehindWhatItAcknowledged(t *testing.T) {
	eachStreamProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		w.put(t, 1, 5)
		s := consuming(t, c, &longlinev1.ConsumeRequest{Stream: "log", Consumer: "billing", After: "1"})
		if got := topics(t, s, 4); got != "t/2 t/3 t/4 t/5" {
			t.Error(got)
		}
		if err := acknowledge(t.Context(), c, "log", "billing", "3"); err != nil {
			t.Fatal(err)
		}
		if err := acknowledge(t.Context(), c, "log", "billing", "2"); err != nil { // changes nothing
			t.Fatal(err)
		}
		info := describe(t, c, "log").Consumers
		if len(info) != 1 || info[0].Name != "billing" || info[0].Acknowledged != "3" || info[0].Lag.Messages != 2 || info[0].Lag.Bytes == 0 || !info[0].Reading {
			t.Errorf("the consumer: %v", info)
		}
		again := consuming(t, c, &longlinev1.ConsumeRequest{Stream: "log", Consumer: "billing", After: "first"})
		if got := topics(t, again, 2); got != "t/4 t/5" {
			t.Error(got)
		}
		if s.Receive() || connect.CodeOf(s.Err()) != connect.CodeAborted || !strings.Contains(s.Err().Error(), "newer reader") {
			t.Errorf("the reader before: %v, %v", s.Msg(), s.Err())
		}
		if _, err := c.DeleteConsumer(t.Context(), connect.NewRequest(&longlinev1.DeleteConsumerRequest{Stream: "log", Consumer: "billing"})); err != nil {
			t.Fatal(err)
		}
		if again.Receive() || connect.CodeOf(again.Err()) != connect.CodeNotFound {
			t.Errorf("the reader of a consumer that was deleted: %v, %v", again.Msg(), again.Err())
		}
		if info := describe(t, c, "log").Consumers; len(info) != 0 {
			t.Errorf("after the deletion: %v", info)
		}
	})
}

func TestStreamsAreDescribed(t *testing.T) {
	w := newStreams(t, Config{})
	before := time.Now()
	w.put(t, 1, 3)
	r, err := w.client("json").ListStreams(t.Context(), connect.NewRequest(new(longlinev1.ListStreamsRequest)))
	if err != nil || len(r.Msg.Streams) != 3 {
		t.Fatal(r, err)
	}
	empty, log := r.Msg.Streams[0], r.Msg.Streams[1]
	if empty.Name != "empty" || empty.First != "" || empty.Last != "0" || empty.Messages != 0 || empty.Oldest != nil || empty.WhenFull != "refuse" || empty.MaxAge.AsDuration() != time.Hour {
		t.Errorf("empty: %v", empty)
	}
	if log.Name != "log" || log.First != "1" || log.Last != "3" || log.Messages != 3 || log.Bytes == 0 || log.MaxBytes != 64<<20 || log.MaxAge != nil || log.WhenFull != "drop_oldest" || log.Error != "" {
		t.Errorf("log: %v", log)
	}
	if at := log.Oldest.AsTime(); at.Before(before.Truncate(time.Second)) || at.After(time.Now()) {
		t.Errorf("the oldest came at %v", at)
	}
}

func TestStreamRequestsAreRefused(t *testing.T) {
	consume := func(r *longlinev1.ConsumeRequest) func(context.Context, longlinev1connect.GatewayClient) error {
		return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
			s, err := c.Consume(ctx, connect.NewRequest(r))
			if err != nil {
				return err
			}
			defer s.Close()
			for s.Receive() {
			}
			return s.Err()
		}
	}
	acknowledging := func(name, consumer, place string) func(context.Context, longlinev1connect.GatewayClient) error {
		return func(ctx context.Context, c longlinev1connect.GatewayClient) error {
			return acknowledge(ctx, c, name, consumer, place)
		}
	}
	const place = "want the place of an entry"
	eachStreamProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		w.put(t, 1, 2)
		consuming(t, c, &longlinev1.ConsumeRequest{Stream: "log", Consumer: "a"})
		for _, test := range []refused{
			{"stream", consume(&longlinev1.ConsumeRequest{Stream: "lug"}), connect.CodeNotFound, "no stream of this name"},
			{"after", consume(&longlinev1.ConsumeRequest{Stream: "log", After: "-1"}), connect.CodeInvalidArgument, `after is "-1": ` + place},
			{"after, too large", consume(&longlinev1.ConsumeRequest{Stream: "log", After: "18446744073709551615"}), connect.CodeInvalidArgument, "behind the end"},
			{"after the end", consume(&longlinev1.ConsumeRequest{Stream: "log", After: "3"}), connect.CodeInvalidArgument, "behind the end"},
			{"consumer", consume(&longlinev1.ConsumeRequest{Stream: "log", Consumer: "a/b"}), connect.CodeInvalidArgument, "want a consumer's name"},
			{"acknowledged stream", acknowledging("", "a", "1"), connect.CodeNotFound, "no stream of this name"},
			{"acknowledged consumer", acknowledging("log", "b", "1"), connect.CodeNotFound, "no such consumer"},
			{"acknowledged place", acknowledging("log", "a", "x"), connect.CodeInvalidArgument, `place is "x": ` + place},
			{"acknowledged too much", acknowledging("log", "a", "3"), connect.CodeInvalidArgument, "behind the end"},
			{"acknowledged much too much", acknowledging("log", "a", "18446744073709551615"), connect.CodeInvalidArgument, place},
			{"described", func(ctx context.Context, c longlinev1connect.GatewayClient) error {
				_, err := c.GetStream(ctx, connect.NewRequest(&longlinev1.GetStreamRequest{Stream: "a/b"}))
				return err
			}, connect.CodeNotFound, "no stream of this name"},
			{"deleted", func(ctx context.Context, c longlinev1connect.GatewayClient) error {
				_, err := c.DeleteConsumer(ctx, connect.NewRequest(&longlinev1.DeleteConsumerRequest{Stream: "log", Consumer: "b"}))
				return err
			}, connect.CodeNotFound, "no such consumer"},
		} {
			test.check(t, c)
		}
	})
}

func TestReadersAreBounded(t *testing.T) {
	w := newStreams(t, Config{MaxReaders: 1})
	c := w.client("grpc")
	consuming(t, c, &longlinev1.ConsumeRequest{Stream: "log"})
	s, err := c.Consume(t.Context(), connect.NewRequest(&longlinev1.ConsumeRequest{Stream: "log"}))
	if err == nil {
		defer s.Close()
		s.Receive()
		err = s.Err()
	}
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Error(err)
	}
	if status, body := w.get(t, streamsPath+"log"); status != 429 || body != "1 backends read streams, which is the limit\n" {
		t.Errorf("%d %s", status, body)
	}
	w.api.acknowledging.Store(maxAcknowledging)
	if err := acknowledge(t.Context(), c, "log", "a", "0"); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Error(err)
	}
}

// A reader that stops costs one batch of memory, slows nobody, and is cut off.
func TestSlowReaderHoldsOneBatch(t *testing.T) {
	for _, protocol := range []string{"grpc", "json"} {
		t.Run(protocol, func(t *testing.T) {
			const messages, size, most = 24, 1 << 20, 12 << 20
			w := newStreams(t, Config{Stall: 200 * time.Millisecond})
			consuming(t, w.client(protocol), &longlinev1.ConsumeRequest{Stream: "log"}) // reads nothing more
			before := heap()
			for i := range messages {
				m := &message.Message{Topic: "t/" + strconv.Itoa(i), Payload: make([]byte, size-1000), QoS: 1}
				if n, err := w.api.publishAcknowledged(t.Context(), m); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
			if grown := heap() - before; grown > most {
				t.Errorf("the memory has grown by %d bytes", grown)
			}
			w.ended(t, longlinev1connect.GatewayConsumeProcedure)
			if n := describe(t, w.client("grpc"), "log").Messages; n != messages {
				t.Errorf("the stream has %d messages", n)
			}
		})
	}
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// What the disk refuses is worth another try; what a caller did wrong is not.
func TestErrorsOfTheDisk(t *testing.T) {
	for err, want := range map[error]connect.Code{
		errDrain:                 connect.CodeUnavailable,
		stream.ErrConsumer:       connect.CodeNotFound,
		stream.ErrPlace:          connect.CodeInvalidArgument,
		stream.ErrTakenOver:      connect.CodeAborted,
		context.DeadlineExceeded: connect.CodeDeadlineExceeded,
	} {
		if got := ofDisk(err); connect.CodeOf(got) != want || !errors.Is(got, err) {
			t.Errorf("%v has become %v, want %v", err, got, want)
		}
	}
	if err := ofDisk(nil); err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsReaders(t *testing.T) {
	w := newStreams(t, Config{})
	s := consuming(t, w.client("grpc"), &longlinev1.ConsumeRequest{Stream: "log"})
	w.api.Close()
	if s.Receive() || connect.CodeOf(s.Err()) != connect.CodeUnavailable {
		t.Errorf("%v, %v", s.Msg(), s.Err())
	}
}

// A reader is told how many entries are gone before those that it gets: without a name, with one, and as events.
func TestMissedEntries(t *testing.T) {
	w := newStreams(t, Config{})
	c := w.client("grpc")
	put := func(n int) {
		t.Helper()
		for range n {
			m := &message.Message{Topic: "s/x", Payload: make([]byte, 512<<10), QoS: 1}
			if _, err := w.api.publishAcknowledged(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(2)
	s := consuming(t, c, &longlinev1.ConsumeRequest{Stream: "small", Consumer: "away"})
	for s.Msg().Place != "2" && s.Receive() {
	}
	if err := acknowledge(t.Context(), c, "small", "away", "1"); err != nil {
		t.Fatal(err)
	}
	put(48)
	first := number(t, describe(t, c, "small").First)
	if first < 3 || first > 50 {
		t.Fatalf("the oldest entry is %d", first)
	}
	for _, test := range []struct {
		request *longlinev1.ConsumeRequest
		want    uint64
	}{
		{&longlinev1.ConsumeRequest{Stream: "small", After: "0", ToEnd: true}, first - 1},
		{&longlinev1.ConsumeRequest{Stream: "small", After: "2", ToEnd: true}, first - 3},
		{&longlinev1.ConsumeRequest{Stream: "small", ToEnd: true}, 0},
		{&longlinev1.ConsumeRequest{Stream: "small", Consumer: "away", ToEnd: true}, first - 2},
	} {
		s, missed, got := consuming(t, c, test.request), uint64(0), uint64(0)
		for s.Receive() {
			if len(s.Msg().Entries) > 0 && got == 0 {
				got = number(t, s.Msg().Entries[0].Place)
			}
			missed += s.Msg().Missed
		}
		if missed != test.want || got != first || s.Err() != nil {
			t.Errorf("%v: missed %d before %d, want %d before %d; %v", test.request, missed, got, test.want, first, s.Err())
		}
	}
	e := w.sse(t, w.h1, "small", "Last-Event-ID", "2")
	e.next()
	if got, want := e.next(), (sseEvent{id: place(first - 1), name: "missed", data: fmt.Sprintf(`{"missed":%d}`, first-3)}); got != want {
		t.Errorf("event %+v, want %+v", got, want)
	}
	if got := e.next(); got.id != place(first) {
		t.Errorf("and then %s", got.id)
	}
}

func number(t testing.TB, place string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(place, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sse is a client of server-sent events.
type sse struct {
	t     testing.TB
	lines *bufio.Reader
	cut   func()
}

// sseEvent is an event; a comment has a text alone.
type sseEvent struct{ id, name, data, comment string }

// sse requests a path below streamsPath.
func (w *world) sse(t testing.TB, h *http.Client, path string, header ...string) *sse {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+streamsPath+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := h.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	cut := func() {
		cancel()
		response.Body.Close()
	}
	t.Cleanup(cut)
	s := &sse{t: t, lines: bufio.NewReader(response.Body), cut: cut}
	if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != "text/event-stream" {
		text, _ := s.lines.ReadString('\n')
		t.Fatalf("status %d, type %s: %s", response.StatusCode, got, text)
	}
	return s
}

// next reads an event.
func (s *sse) next() (e sseEvent) {
	s.t.Helper()
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch key {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if line != "\n" {
				e.comment = value
				continue
			}
			return e
		default:
			s.t.Fatalf("line %q", line)
		}
	}
}

func TestEntriesAsEvents(t *testing.T) {
	for name, client := range map[string]func(*world) *http.Client{
		"HTTP/1.1": func(w *world) *http.Client { return w.h1 },
		"HTTP/2":   func(w *world) *http.Client { return w.h2 },
	} {
		t.Run(name, func(t *testing.T) {
			w := newStreams(t, Config{Heartbeat: time.Millisecond})
			for _, m := range []*message.Message{
				{Topic: "t/json", Payload: []byte("{\"v\": 1,\n \"s\":\"<&>\"}\n"), ContentType: message.JSON, QoS: 1, Source: "a"},
				{Topic: "t/text", Payload: []byte("on\nid: 1"), ContentType: "text/plain", QoS: 2},
				{Topic: "t/bytes", Payload: []byte("\xff"), QoS: 1},
			} {
				m.Time = 1_700_000_000_123
				if _, err := w.router.Publish(m, nil); err != nil {
					t.Fatal(err)
				}
			}
			w.put(t, 1, 1)
			s := w.sse(t, client(w), "log")
			for _, want := range []sseEvent{
				{id: "0", name: "reading", data: `{"behind":4}`},
				{id: "1", name: "message", data: `{"topic":"t/json","payload":{"v":1,"s":"<&>"},"qos":1,"ts":1700000000123,"source":"a"}`},
				{id: "2", name: "message", data: `{"topic":"t/text","text":"on\nid: 1","type":"text/plain","qos":2,"ts":1700000000123}`},
				{id: "3", name: "message", data: `{"topic":"t/bytes","data":"/w==","qos":1,"ts":1700000000123}`},
			} {
				if got := s.next(); got != want {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
			}
			if got := s.next(); got.id != "4" {
				t.Errorf("the last: %+v", got)
			}
			if got := s.next(); got != (sseEvent{comment: "heartbeat"}) {
				t.Errorf("idle: %+v", got)
			}
			s.cut()
			if code := w.ended(t, streamsPath); code != "canceled" {
				t.Errorf("ended with %s", code)
			}
		})
	}
}

// A client that is cut off at any moment goes on where it was, as EventSource does: it misses nothing, and gets nothing twice.
func TestEventsResume(t *testing.T) {
	for _, query := range []string{"", "?after=latest", "?consumer=c"} {
		t.Run(query, func(t *testing.T) {
			const messages = 200
			w := newStreams(t, Config{Batch: router.InboxConfig{Messages: 7}})
			s := w.sse(t, w.h1, "log"+query)
			last := s.next().id
			var publisher sync.WaitGroup
			defer publisher.Wait()
			publisher.Go(func() { w.put(t, 1, messages) })
			for got, since := 0, 0; got < messages; {
				if since == 10 { // in the middle of what the connection has
					s.cut()
					s = w.sse(t, w.h1, "log"+query, "Last-Event-ID", last)
					if e := s.next(); e.id != last || e.name != "reading" {
						t.Fatalf("after %s it begins with %+v", last, e)
					}
					since = 0
				}
				e := s.next()
				got++
				since++
				if want := fmt.Sprintf(`{"topic":"t/%d","payload":{"n":%d},`, got, got); !strings.HasPrefix(e.data, want) {
					t.Fatalf("got %+v, want %s", e, want)
				}
				last = e.id
			}
			if query == "?consumer=c" {
				c := describe(t, w.client("json"), "log").Consumers
				if len(c) != 1 || c[0].Acknowledged == "0" || c[0].Lag.Messages > 10 {
					t.Errorf("Last-Event-ID acknowledges: %v", c)
				}
			}
		})
	}
}

func TestEventsOfAConsumerThatIsTakenOver(t *testing.T) {
	w := newStreams(t, Config{})
	s := w.sse(t, w.h1, "log?consumer=c")
	s.next()
	w.sse(t, w.h2, "log?consumer=c")
	e := s.next()
	var why struct{ Code, Message string }
	if err := json.Unmarshal([]byte(e.data), &why); err != nil || e.name != "ended" || e.id != "" || why.Code != "aborted" || !strings.Contains(why.Message, "newer reader") {
		t.Errorf("%+v", e)
	}
	if _, err := s.lines.ReadByte(); err == nil {
		t.Error("the events go on")
	}
}

func TestEntryEventsAreRefused(t *testing.T) {
	w := newStreams(t, Config{})
	w.put(t, 1, 2)
	for _, test := range []struct {
		path, last string
		status     int
		want       string
	}{
		{"lug", "", 404, "the configuration has no stream of this name"},
		{"log%2Fx", "", 404, "the configuration has no stream of this name"},
		{"log?filter=a", "", 400, `"filter" is not a parameter: want any of consumer, after`},
		{"log?after=1&after=2", "", 400, "after is given twice"},
		{"log?after=yesterday", "", 400, `after is "yesterday": want the place of an entry, a time such as`},
		{"log?after=3", "", 400, "the place is behind the end of the stream"},
		{"log?after=first", "x", 400, `Last-Event-ID is "x": want the place of an entry`},
		{"log", "latest", 400, `Last-Event-ID is "latest": want the place of an entry`},
		{"log", "3", 400, "the place is behind the end of the stream"},
		{"log?consumer=c", "3", 400, "the place is behind the end of the stream"},
		{"log?consumer=a%2Fb", "", 400, "want a consumer's name"},
		{"log?consumer=a%2Fb", "1", 400, "want a consumer's name"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+streamsPath+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.last != "" {
			r.Header.Set("Last-Event-ID", test.last)
		}
		response, err := w.h1.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := bufio.NewReader(response.Body).ReadString('\n')
		response.Body.Close()
		if response.StatusCode != test.status || !strings.HasPrefix(text, test.want) {
			t.Errorf("%s, Last-Event-ID %q: %d %s; want %d %s", test.path, test.last, response.StatusCode, text, test.status, test.want)
		}
	}
	if n := w.api.readers.Load(); n != 0 {
		t.Errorf("%d readers are left", n)
	}
}

// BenchmarkConsume reads what is in a stream through gRPC. The client, in this process too, has a part in cpu-ns/msg.
func BenchmarkConsume(b *testing.B) {
	w := newStreams(b, Config{})
	const messages = 100_000
	for range messages {
		m := &message.Message{Topic: "t/meter-17/telemetry", Source: "meter-17", Payload: make([]byte, 128)}
		if _, err := w.router.Publish(m, nil); err != nil {
			b.Fatal(err)
		}
	}
	w.put(b, 1, 1) // all are there when this one is
	c := w.client("grpc")
	b.SetBytes(128)
	before := processorTime(b)
	n := 0
	for b.ResetTimer(); n < b.N; {
		s := consuming(b, c, &longlinev1.ConsumeRequest{Stream: "log", ToEnd: true})
		for n < b.N && s.Receive() {
			n += len(s.Msg().Entries)
		}
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(n), "cpu-ns/msg")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
}

// TestReadersShareBatches checks that many readers get smaller batches: each holds one for as long as it does not read.
func TestReadersShareBatches(t *testing.T) {
	w := newStreams(t, Config{MaxReaders: 1 << 20})
	const messages = 100
	for range messages {
		m := &message.Message{Topic: "t/a", Payload: make([]byte, 8<<10), QoS: 1}
		if n, err := w.api.publishAcknowledged(t.Context(), m); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	for _, others := range []int64{0, 63, 10_000} {
		most := min(1<<20, max(leastBatch, readersBytes/(others+1)))
		w.api.readers.Add(others)
		s := consuming(t, w.client("grpc"), &longlinev1.ConsumeRequest{Stream: "log"})
		got, largest := 0, int64(0)
		for got < messages && s.Receive() {
			size := int64(0)
			for _, e := range s.Msg().Entries {
				size += int64(len(e.Message.Payload))
			}
			got, largest = got+len(s.Msg().Entries), max(largest, size)
		}
		_ = s.Close()
		w.api.readers.Add(-others)
		if got != messages || largest > most || largest < min(most, messages*8<<10)-16<<10 {
			t.Errorf("with %d other readers a batch has %d bytes, want %d; %d messages, %v", others, largest, most, got, s.Err())
		}
	}
}
