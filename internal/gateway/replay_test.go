package gateway

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/api"
	"github.com/longline/longline/internal/fleet"
	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// recordings are what real devices have sent, and one of the project's own. The others are
// not in the repository: under CI they must be there, elsewhere they may be missing.
var recordings = []fleet.Replay{
	{Files: []string{"testdata/meters.csv"}, IDColumn: "meter", TimeColumn: "time"},
	{Files: []string{"../../../shared/data/air.csv"}, IDColumn: "station", TimeColumn: "timestamp"},
	{Files: []string{"../../../shared/data/nab.csv"}, IDColumn: "device", TimeColumn: "timestamp"},
}

// A recording that is replayed arrives complete, in order for each device and byte for
// byte: in a subscription of this process, and in one of a backend that uses the API.
func TestReplay(t *testing.T) {
	for _, recording := range recordings {
		if _, err := os.Stat(recording.Files[0]); os.IsNotExist(err) && os.Getenv("CI") != "true" {
			continue
		}
		want := expected(t, recording)
		for _, protocol := range []string{"json", "protobuf"} {
			t.Run(filepath.Base(recording.Files[0])+"/"+protocol, func(t *testing.T) {
				replay(t, want, fleet.Config{Protocol: protocol, Replay: recording})
			})
		}
	}
}

// rows are the payloads of each topic, in order.
type rows struct {
	byTopic map[string][]string
	count   int
}

var number = regexp.MustCompile(`^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$`)

// expected reads a recording in a way of its own.
func expected(t *testing.T, recording fleet.Replay) rows {
	t.Helper()
	file, err := os.Open(recording.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	records, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := rows{map[string][]string{}, len(records) - 1}
	for _, record := range records[1:] {
		var members []string
		var device string
		for i, column := range records[0] {
			value := record[i]
			if column == recording.IDColumn {
				device = value
			}
			if !number.MatchString(value) {
				value = quoted(t, value)
			}
			members = append(members, quoted(t, column)+":"+value)
		}
		topic := "device/" + device + "/telemetry"
		want.byTopic[topic] = append(want.byTopic[topic], "{"+strings.Join(members, ",")+"}")
	}
	return want
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// check is one subscriber's progress through the rows.
type check struct {
	t    *testing.T
	who  string
	want rows
	next map[string]int
	left int
}

func newCheck(t *testing.T, who string, want rows) *check {
	return &check{t, who, want, map[string]int{}, want.count}
}

// message reports whether m is the next row of its topic.
func (c *check) message(topic string, payload []byte) bool {
	i := c.next[topic]
	if i >= len(c.want.byTopic[topic]) || c.want.byTopic[topic][i] != string(payload) {
		c.t.Errorf("%s: %s: row %d is %s", c.who, topic, i, payload)
		return false
	}
	c.next[topic]++
	c.left--
	return true
}

func replay(t *testing.T, want rows, config fleet.Config) {
	w := newWorld(t, settings{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stream := w.stream(ctx)
	inbox := w.subscribe("device/+/telemetry")
	done := make(chan bool, 2)
	go func() { done <- drainInbox(ctx, inbox, newCheck(t, "inbox", want)) }()
	go func() { done <- drainStream(stream, newCheck(t, "stream", want)) }()

	config.Gateway = "ws://" + w.gateway.Addr().String() + "/connect/{device}"
	report, err := fleet.Run(ctx, config, nil)
	if err != nil {
		t.Error(err)
	}
	if report.Rows != want.count || report.Acknowledged != uint64(want.count) || report.Reconnects != 0 || report.Devices != len(want.byTopic) {
		t.Errorf("report: %+v, want %d rows of %d devices", report, want.count, len(want.byTopic))
	}
	for range cap(done) {
		if !<-done {
			cancel()
		}
	}
}

func drainInbox(ctx context.Context, inbox *router.Inbox, c *check) bool {
	for c.left > 0 {
		batch, missed, err := inbox.Take(ctx, nil)
		if err != nil || missed > 0 {
			c.t.Errorf("inbox: %d rows are left, %d missed: %v", c.left, missed, err)
			return false
		}
		for _, m := range batch {
			if !c.message(m.Topic, m.Payload) {
				return false
			}
		}
	}
	return true
}

func drainStream(stream *connect.ServerStreamForClient[longlinev1.SubscribeResponse], c *check) bool {
	for c.left > 0 {
		if !stream.Receive() {
			c.t.Errorf("stream: %d rows are left: %v", c.left, stream.Err())
			return false
		}
		for _, m := range stream.Msg().Messages {
			if !c.message(m.Topic, m.Payload) {
				return false
			}
		}
	}
	return true
}

// stream subscribes through the API to what the fleet's devices publish. It is open when
// the first response, an empty one, has come.
func (w *world) stream(ctx context.Context) *connect.ServerStreamForClient[longlinev1.SubscribeResponse] {
	w.t.Helper()
	a := api.New(api.Config{}, api.Node{Devices: w.sessions.Local(w.gateway.Peers), Router: w.router, Gateway: w.gateway})
	server := httptest.NewServer(a.Handler())
	w.t.Cleanup(func() { a.Close(); server.Close() })
	client := longlinev1connect.NewGatewayClient(server.Client(), server.URL)
	stream, err := client.Subscribe(ctx, connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{"device/+/telemetry"}, Qos: 1}))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = stream.Close() })
	if !stream.Receive() {
		w.t.Fatal(stream.Err())
	}
	return stream
}
