package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/wire"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

func createCommand(t *testing.T, c longlinev1connect.GatewayClient, r *longlinev1.CreateCommandRequest) *longlinev1.CreateCommandResponse {
	t.Helper()
	response, err := c.CreateCommand(t.Context(), connect.NewRequest(r))
	if err != nil {
		t.Fatal(err)
	}
	return response.Msg
}

// awaitCommand watches a command until it has ended.
func awaitCommand(t *testing.T, c longlinev1connect.GatewayClient, id uint64) *longlinev1.Command {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	list, err := c.WatchCommands(ctx, connect.NewRequest(&longlinev1.WatchCommandsRequest{Text: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	for list.Receive() {
		for _, c := range list.Msg().Commands {
			if c.Id == id && c.Ended != nil {
				return c
			}
		}
	}
	t.Fatalf("the command has not ended: %v", list.Err())
	return nil
}

// A command waits for its device, and its answer is there for everybody who asks.
func TestCommand(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		text := `{"hard":true}`
		created := createCommand(t, c, &longlinev1.CreateCommandRequest{Device: "a", Method: "reboot", Text: &text, IdempotencyKey: "k"})
		command := created.Command
		if created.Existed || command.State != longlinev1.CommandState_COMMAND_STATE_QUEUED || command.ContentType != "application/json" ||
			command.Expires.AsTime().Sub(command.Created.AsTime()) != time.Minute || command.Ended != nil {
			t.Errorf("%+v", created)
		}
		again := createCommand(t, c, &longlinev1.CreateCommandRequest{Device: "a", Method: "reboot", Text: &text, IdempotencyKey: "k"})
		if !again.Existed || again.Command.Id != command.Id {
			t.Errorf("%+v", again)
		}
		calls := make(chan *wire.Packet, 1)
		w.connect(t, "a", &fakeDevice{reply: func(p *wire.Packet) *wire.Packet {
			calls <- p
			return &wire.Packet{Payload: []byte("done"), ContentType: "text/plain"}
		}})
		if p := <-calls; p.ID != command.Id || p.Method != "reboot" || string(p.Payload) != text || p.Again || p.Timeout > time.Minute || p.Timeout < 30*time.Second {
			t.Errorf("%+v", p)
		}
		ended := awaitCommand(t, c, command.Id)
		if ended.State != longlinev1.CommandState_COMMAND_STATE_SUCCEEDED || ended.Answer.GetText() != "done" || ended.Payload != nil || ended.Text != nil {
			t.Errorf("%+v", ended)
		}
		got, err := c.GetCommand(t.Context(), connect.NewRequest(&longlinev1.GetCommandRequest{Id: command.Id}))
		if err != nil {
			t.Fatal(err)
		}
		end := got.Msg.Command
		if string(end.Payload)+end.GetText() != text || string(end.Answer.Payload)+end.Answer.GetText() != "done" || end.Attempts != 1 ||
			len(end.History) != 3 || end.History[1].Session == "" || end.History[1].Connected == nil {
			t.Errorf("%+v", end)
		}
	})
}

func TestCommandRefusedByTheDevice(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	c := w.client("json")
	w.connect(t, "a", &fakeDevice{reply: func(*wire.Packet) *wire.Packet {
		return &wire.Packet{Err: wire.Error{Code: "busy", Reason: "charging"}}
	}})
	created := createCommand(t, c, &longlinev1.CreateCommandRequest{Device: "a", Method: "m"})
	end := awaitCommand(t, c, created.Command.Id)
	if end.State != longlinev1.CommandState_COMMAND_STATE_FAILED || end.Answer.Error.GetCode() != "busy" || end.Answer.Error.GetReason() != "charging" {
		t.Errorf("%+v", end)
	}
}

func TestCancelCommand(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	c := w.client("json")
	cancel := func(device string) *longlinev1.Command {
		t.Helper()
		created := createCommand(t, c, &longlinev1.CreateCommandRequest{Device: device, Method: "m"})
		if device == "b" { // until it is sent
			list, err := c.WatchCommands(t.Context(), connect.NewRequest(&longlinev1.WatchCommandsRequest{State: longlinev1.CommandState_COMMAND_STATE_SENT}))
			if err != nil {
				t.Fatal(err)
			}
			for list.Receive() && len(list.Msg().Commands) == 0 {
			}
			_ = list.Close()
		}
		r, err := c.CancelCommand(t.Context(), connect.NewRequest(&longlinev1.CancelCommandRequest{Id: created.Command.Id}))
		if err != nil {
			t.Fatal(err)
		}
		return r.Msg.Command
	}
	if got := cancel("a"); got.State != longlinev1.CommandState_COMMAND_STATE_CANCELLED {
		t.Errorf("%+v", got)
	}
	w.connect(t, "b", new(fakeDevice)) // which does not answer
	if got := cancel("b"); got.State != longlinev1.CommandState_COMMAND_STATE_UNKNOWN || got.Attempts != 1 {
		t.Errorf("%+v", got)
	}
}

func TestCommandRequests(t *testing.T) {
	w := newWorld(t, Config{MaxPageSize: 2}, router.Config{})
	c := w.client("json")
	create := func(change func(*longlinev1.CreateCommandRequest)) error {
		r := &longlinev1.CreateCommandRequest{Device: "a", Method: "m", IdempotencyKey: "k"}
		change(r)
		_, err := c.CreateCommand(t.Context(), connect.NewRequest(r))
		return err
	}
	for _, tt := range []struct {
		want   string
		change func(*longlinev1.CreateCommandRequest)
	}{
		{"invalid_argument: device is empty", func(r *longlinev1.CreateCommandRequest) { r.Device = "" }},
		{"invalid_argument: method is empty", func(r *longlinev1.CreateCommandRequest) { r.Method = "" }},
		{"invalid_argument: payload is 501 bytes long: the limit is 500", func(r *longlinev1.CreateCommandRequest) { r.Payload = make([]byte, 501) }},
		{"invalid_argument: ttl is 1h0m1s: want 1ms to 1h0m0s", func(r *longlinev1.CreateCommandRequest) { r.Ttl = durationpb.New(time.Hour + time.Second) }},
		{"invalid_argument: idempotency_key is 129 bytes long: the limit is 128", func(r *longlinev1.CreateCommandRequest) {
			r.IdempotencyKey = strings.Repeat("k", 129)
		}},
		{"", func(*longlinev1.CreateCommandRequest) {}},
		{"already_exists: the idempotency key belongs to a command with another device, method, payload or exclusive", func(r *longlinev1.CreateCommandRequest) { r.Device = "b" }},
		{"", func(r *longlinev1.CreateCommandRequest) { r.IdempotencyKey = "" }},
		{"", func(r *longlinev1.CreateCommandRequest) { r.IdempotencyKey = "l" }},
		{"resource_exhausted: the device has as many open commands as commands.per_device allows", func(r *longlinev1.CreateCommandRequest) { r.IdempotencyKey = "" }},
	} {
		got := ""
		if err := create(tt.change); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	var ids []uint64
	request := &longlinev1.ListCommandsRequest{Device: "a", State: longlinev1.CommandState_COMMAND_STATE_QUEUED}
	for pages := 1; ; pages++ {
		page, err := c.ListCommands(t.Context(), connect.NewRequest(request))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Msg.Commands {
			ids = append(ids, c.Id)
		}
		if request.PageToken = page.Msg.NextPageToken; request.PageToken == "" {
			if len(ids) != 3 || pages != 2 || ids[0] >= ids[1] || ids[1] >= ids[2] {
				t.Errorf("%d in %d pages", ids, pages)
			}
			break
		}
	}
	for _, r := range []*longlinev1.ListCommandsRequest{{Device: "/"}, {State: 8}, {PageToken: "a"}, {PageToken: "a/x"}, {PageToken: "/1"}} {
		if _, err := c.ListCommands(t.Context(), connect.NewRequest(r)); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// A watcher goes on where it was, and what does not match is left out.
func TestWatchCommands(t *testing.T) {
	eachProtocol(t, func(t *testing.T, w *world, c longlinev1connect.GatewayClient) {
		w.connect(t, "a", &fakeDevice{reply: func(*wire.Packet) *wire.Packet { return new(wire.Packet) }})
		first := createCommand(t, c, &longlinev1.CreateCommandRequest{Device: "a", Method: "m"}).Command
		createCommand(t, c, &longlinev1.CreateCommandRequest{Device: "b", Method: "m"})
		awaitCommand(t, c, first.Id)
		watch := func(after string) *connect.ServerStreamForClient[longlinev1.WatchCommandsResponse] {
			t.Helper()
			list, err := c.WatchCommands(t.Context(), connect.NewRequest(&longlinev1.WatchCommandsRequest{Device: "a", After: after}))
			if err != nil {
				t.Fatal(err)
			}
			if !list.Receive() {
				t.Fatal(list.Err())
			}
			return list
		}
		list := watch("")
		if r := list.Msg(); !r.Live || len(r.Commands) != 1 || r.Commands[0].Id != first.Id {
			t.Fatalf("%+v", r)
		}
		place := list.Msg().Place
		_ = list.Close()
		list = watch(place)
		if r := list.Msg(); !r.Live || len(r.Commands) != 0 || r.Place != place {
			t.Errorf("%+v", r)
		}
		createCommand(t, c, &longlinev1.CreateCommandRequest{Device: "b", Method: "m"})
		second := createCommand(t, c, &longlinev1.CreateCommandRequest{Device: "a", Method: "m"}).Command
		if !list.Receive() || list.Msg().Commands[0].Id != second.Id {
			t.Errorf("%+v, %v", list.Msg(), list.Err())
		}
		_ = list.Close()
		_, err := c.GetCommand(t.Context(), connect.NewRequest(&longlinev1.GetCommandRequest{Id: 1}))
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Error(err)
		}
	})
}

// commandsSince opens server-sent events of commands, and returns a function that reads the next one.
func (w *world) commandsSince(t *testing.T, query, last string) (next func() (id string, c map[string]any)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+commandsPath+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	response, err := w.h1.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	return func() (id string, c map[string]any) {
		t.Helper()
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				id = value
			case "data":
				if err := json.Unmarshal([]byte(value), &c); err != nil {
					t.Fatal(err)
				}
				return id, c
			}
		}
		t.Fatal("the stream has ended")
		return "", nil
	}
}

// Server-sent events of commands resume behind the last event.
func TestCommandEvents(t *testing.T) {
	w := newWorld(t, Config{Heartbeat: time.Millisecond}, router.Config{})
	c := w.client("json")
	var ids []string
	for i := range 3 {
		command := createCommand(t, c, &longlinev1.CreateCommandRequest{Device: "a", Method: fmt.Sprint(i)}).Command
		ids = append(ids, strconv.FormatUint(command.Id, 10))
	}
	next := w.commandsSince(t, "?device=a&state=COMMAND_STATE_QUEUED", "")
	if _, c := next(); c["id"] != ids[0] || c["state"] != "COMMAND_STATE_QUEUED" {
		t.Errorf("%v", c)
	}
	place, second := next()
	if second["id"] != ids[1] {
		t.Errorf("%v", second)
	}
	next = w.commandsSince(t, "?device=a", place)
	if _, c := next(); c["id"] != ids[2] {
		t.Errorf("%v", c)
	}
	for query, want := range map[string]string{
		"?what=1":   `"what" is not a parameter`,
		"?state=x":  "state is",
		"?after=x":  "after is",
		"?device=/": "device",
	} {
		if status, body := w.get(t, commandsPath+query); status != http.StatusBadRequest || !strings.HasPrefix(body, want) {
			t.Errorf("%s: %d %q", query, status, body)
		}
	}
}

// Creations and cancellations are in the audit log.
func TestCommandAudit(t *testing.T) {
	var log bytes.Buffer
	w := newDoor(t, func(_ *Config, n *Node) { n.Audit = slog.New(slog.NewJSONHandler(&log, nil)) })
	post := func(method, body string) {
		t.Helper()
		w.do(t, "POST", procedures+method, body, "Authorization", "Bearer operate token")
	}
	post("CreateCommand", `{"device":"a","method":"m","text":"secret"}`)
	post("CancelCommand", `{"id":"17"}`)
	for _, want := range []string{`"device":"a"`, `"call":"m"`, `"result":"ok"`, `"command":"17"`, `"result":"not_found"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in %s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Error("a payload is in the log")
	}
}

func TestNoCommands(t *testing.T) {
	w := newDoor(t, func(_ *Config, n *Node) { n.Commands, n.Roles = nil, nil })
	if status, _ := w.do(t, "POST", procedures+"ListCommands", "{}"); status != http.StatusNotImplemented {
		t.Error(status)
	}
}
