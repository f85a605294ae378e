package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/device"
	"github.com/longline/longline/internal/wire/mqtt"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// backend is a backend of a program, which may be another process later.
type backend struct {
	t *testing.T
	longlinev1connect.GatewayClient
}

func (p *program) backend() *backend {
	return &backend{p.t, longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+p.admin, connect.WithProtoJSON())}
}

func (b *backend) command(device, method string) *longlinev1.Command {
	b.t.Helper()
	text := "hard"
	r, err := b.CreateCommand(b.t.Context(), connect.NewRequest(&longlinev1.CreateCommandRequest{Device: device, Method: method, Text: &text}))
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Msg.Command
}

// becomes watches a command until it is in a state.
func (b *backend) becomes(c *longlinev1.Command, want longlinev1.CommandState) *longlinev1.Command {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	list, err := b.WatchCommands(ctx, connect.NewRequest(&longlinev1.WatchCommandsRequest{Device: c.Device, Text: true}))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = list.Close() }()
	for list.Receive() {
		for _, now := range list.Msg().Commands {
			if now.Id == c.Id && now.State == want {
				return now
			}
		}
	}
	b.t.Fatalf("command %s has not become %v: %v", c.Method, want, list.Err())
	return nil
}

const (
	queued    = longlinev1.CommandState_COMMAND_STATE_QUEUED
	sent      = longlinev1.CommandState_COMMAND_STATE_SENT
	succeeded = longlinev1.CommandState_COMMAND_STATE_SUCCEEDED
	failed    = longlinev1.CommandState_COMMAND_STATE_FAILED
)

// Commands outlive kill -9 of the gateway and absences of the device, in every protocol; the SDK runs a handler once, and gives the
// answer that got lost again.
func TestCommandsSurviveKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := serveData(t, dir)
	b := p.backend()
	waiting, plain, three := b.command("sdk", "wait"), b.command("json", "m"), b.command("three", "m")
	p.kill() // before any device was there
	p = serveData(t, dir)
	b = p.backend()
	for _, c := range []*longlinev1.Command{waiting, plain, three} {
		b.becomes(c, queued)
	}

	var ran atomic.Int32
	var gateway atomic.Pointer[program]
	gateway.Store(p)
	began, release := make(chan device.Call, 1), make(chan struct{})
	sdk, err := device.Dial(t.Context(), "ws://gateway", &device.Options{
		ID:            "sdk",
		SessionExpiry: time.Minute,
		Reconnect:     device.Reconnect{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond, MaxTries: -1},
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, gateway.Load().devices)
		}}},
		Calls: map[string]device.CallHandler{"wait": func(_ context.Context, c device.Call) (any, error) {
			ran.Add(1)
			began <- c
			<-release
			return []byte("done"), nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sdk.Close(context.Background()) })
	if c := <-began; c.ID != waiting.Id || c.Again {
		t.Errorf("%+v", c)
	}
	next := p.json("json")
	if got := next("call"); !strings.Contains(got, fmt.Sprintf(`"id":%d,`, plain.Id)) || strings.Contains(got, "again") {
		t.Error(got)
	}
	mqtt3 := p.mqtt("three", false)
	mqtt3.subscribe("device/three/call/#")
	call := fmt.Sprintf("device/three/call/m/%d", three.Id)
	mqtt3.wantNext(call + "=hard qos 0 id 0 dup false retain false")
	for _, c := range []*longlinev1.Command{waiting, plain, three} {
		b.becomes(c, sent)
	}

	p.kill() // before any answer
	close(release)
	p = serveData(t, dir)
	b = p.backend()
	for _, c := range []*longlinev1.Command{waiting, plain, three} {
		if got := b.becomes(c, sent); got.Attempts != 1 && c != waiting {
			t.Errorf("%+v", got)
		}
	}
	gateway.Store(p)
	if got := b.becomes(waiting, succeeded); got.Answer.GetText() != "done" || got.Attempts != 2 || ran.Load() != 1 {
		t.Errorf("%+v after %d handlers ran", got, ran.Load())
	}
	next = p.json("json", fmt.Sprintf(`{"op":"reply","id":%d,"error":{"code":"busy","reason":"charging"}}`, plain.Id))
	if got := next("call"); !strings.Contains(got, `"again":true`) {
		t.Error(got)
	}
	b.becomes(plain, failed)
	mqtt3 = p.mqtt("three", true)
	mqtt3.wantNext(call + "/again=hard qos 0 id 0 dup false retain false")
	mqtt3.send(&mqtt.Packet{Type: mqtt.Publish, Topic: fmt.Sprintf("device/three/reply/%d", three.Id), Payload: []byte("ok")})
	b.becomes(three, succeeded)

	p.kill() // after all answers
	p = serveData(t, dir)
	b = p.backend()
	for c, want := range map[*longlinev1.Command]longlinev1.CommandState{waiting: succeeded, plain: failed, three: succeeded} {
		b.becomes(c, want)
	}
	metrics := p.get("/metrics")
	for _, want := range []string{`longline_commands_kept{state="succeeded"} 2`, `longline_commands_kept{state="failed"} 1`, "longline_commands_lost_total 0"} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the metrics have no %s", want)
		}
	}
	if response := p.get("/v1/commands?state=x"); !strings.Contains(response, "CommandState") {
		t.Error(response)
	}
	p.signal()
	if code := p.exitCode(); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

func TestCommandLine(t *testing.T) {
	p := serveData(t, filepath.Join(t.TempDir(), "data"))
	run := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		code, stdout, stderr := longline(t, append([]string{"command"}, append(args, "--server", p.admin)...)...)
		if code != want {
			t.Errorf("%v: exit code %d, want %d: %s%s", args, code, want, stdout, stderr)
		}
		return stdout, stderr
	}
	created, _ := run(exitDone, "create", "away", "open", `{"door":1}`, "--key", "k")
	if repeated, _ := run(exitDone, "create", "away", "open", `{"door":1}`, "--key", "k"); repeated != created {
		t.Errorf("the same request with the same key made\n%s after\n%s", repeated, created)
	}
	var c struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(created), &c); err != nil {
		t.Fatal(err)
	}
	if _, stderr := run(exitFailed, "create", "away", "open", "--ttl", "0s"); !strings.Contains(stderr, "ttl is 0s: want 1ms to ") {
		t.Errorf("--ttl 0s: %s", stderr)
	}
	if ended, _ := run(exitFailed, "create", "other", "open", "--ttl", "1ms", "--wait"); !strings.Contains(ended, `"COMMAND_STATE_EXPIRED"`) {
		t.Errorf("--wait printed %s", ended)
	}
	if cancelled, _ := run(exitDone, "cancel", c.ID); !strings.Contains(cancelled, `"COMMAND_STATE_CANCELLED"`) {
		t.Errorf("cancel printed %s", cancelled)
	}
	if list, _ := run(exitDone, "ls", "--state", "cancelled"); !strings.Contains(list, c.ID) || strings.Contains(list, "other") {
		t.Errorf("ls printed %s", list)
	}
	if _, stderr := run(exitFailed, "get", "1"); !strings.Contains(stderr, "there is no command with this id") {
		t.Errorf("get of an unknown id: %s", stderr)
	}
}
