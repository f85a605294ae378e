package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// sinksAPI is a gateway's API about sinks, which tells what it is asked.
type sinksAPI struct {
	longlinev1connect.UnimplementedGatewayHandler
	sinks []*longlinev1.Sink
	asked []string
}

func (s *sinksAPI) ListSinks(context.Context, *connect.Request[longlinev1.ListSinksRequest]) (*connect.Response[longlinev1.ListSinksResponse], error) {
	return connect.NewResponse(&longlinev1.ListSinksResponse{Sinks: s.sinks}), nil
}

func (s *sinksAPI) PauseSink(_ context.Context, r *connect.Request[longlinev1.PauseSinkRequest]) (*connect.Response[longlinev1.PauseSinkResponse], error) {
	s.asked = append(s.asked, "pause "+r.Msg.Sink)
	return connect.NewResponse(new(longlinev1.PauseSinkResponse)), nil
}

func (s *sinksAPI) ResumeSink(_ context.Context, r *connect.Request[longlinev1.ResumeSinkRequest]) (*connect.Response[longlinev1.ResumeSinkResponse], error) {
	s.asked = append(s.asked, "resume "+r.Msg.Sink)
	return connect.NewResponse(new(longlinev1.ResumeSinkResponse)), nil
}

func (s *sinksAPI) ReplaySink(_ context.Context, r *connect.Request[longlinev1.ReplaySinkRequest]) (*connect.Response[longlinev1.ReplaySinkResponse], error) {
	s.asked = append(s.asked, "replay "+strings.ReplaceAll(r.Msg.String(), " ", "")) // protobuf puts spaces where it likes
	return connect.NewResponse(new(longlinev1.ReplaySinkResponse)), nil
}

func (s *sinksAPI) StopReplay(_ context.Context, r *connect.Request[longlinev1.StopReplayRequest]) (*connect.Response[longlinev1.StopReplayResponse], error) {
	s.asked = append(s.asked, "stop "+r.Msg.Sink)
	return connect.NewResponse(new(longlinev1.StopReplayResponse)), nil
}

func serveSinks(t *testing.T, s *sinksAPI) (run func(args ...string) (code int, out, errs string)) {
	t.Helper()
	_, handler := longlinev1connect.NewGatewayHandler(s)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := Run(t.Context(), append(args, "--server", server.URL), nil, &out, &errs)
		return code, out.String(), errs.String()
	}
}

// Operators see what each sink does, and what is wrong with it.
func TestSinkLs(t *testing.T) {
	s := new(sinksAPI)
	run := serveSinks(t, s)
	var errs bytes.Buffer
	if code := Run(t.Context(), []string{"sink", "ls", "--server", "127.0.0.1:1"}, nil, nil, &errs); code != exitFailed || !strings.Contains(errs.String(), "refused") {
		t.Errorf("without a gateway: code %d, %s", code, &errs)
	}
	if code, out, _ := run("sink", "ls"); code != 0 || out != "the gateway has no sinks\n" {
		t.Errorf("%d, %s", code, out)
	}
	s.sinks = []*longlinev1.Sink{
		{Name: "archive", Stream: "telemetry", Target: "file", State: "running", Sent: 7, Replay: &longlinev1.SinkReplay{Stream: "dead_letters", From: 3, Place: 5, End: 9}},
		{Name: "main", Stream: "telemetry", Target: "kafka", State: "failing", Lag: 12, Failures: 4, Dead: 2, DeadLost: 1, Missed: 3,
			Problem: "no broker\n\x1banswers", Since: timestamppb.New(time.Now().Add(-time.Hour))},
	}
	code, out, failed := run("sink", "ls", "--over", "1ms")
	for _, want := range []string{
		"SINK FROM TO STATE LAG RATE SENT RETRIES DEAD PROBLEM",
		"archive telemetry file running 0 0/s 7 0 0",
		"archive dead_letters file replaying 4 2",
		"main telemetry kafka failing 12 0/s 0 4 2 no broker answers (for 1h0m0s); 3 messages missed; 1 dead letters lost",
	} {
		found := false
		for line := range strings.Lines(out) {
			found = found || strings.Join(strings.Fields(line), " ") == want
		}
		if !found {
			t.Errorf("code %d, %s no line %q in\n%s", code, failed, want, out)
		}
	}
}

func TestSinkCommands(t *testing.T) {
	for args, want := range map[string]string{
		"sink pause main":                               "pause main",
		"sink resume main":                              "resume main",
		"sink replay main --stop":                       "stop main",
		"sink replay main --dead":                       `replay sink:"main"dead_letters:true`,
		"sink replay main --all":                        `replay sink:"main"from:1`,
		"sink replay main --from 3 --to 9":              `replay sink:"main"from:3to:9`,
		"sink replay main --since 2026-11-27T12:00:00Z": `replay sink:"main"since:{seconds:1795780800}`,
		"sink replay main --until 2026-11-27T12:00:00Z": `replay sink:"main"until:{seconds:1795780800}`,
		"sink replay main --dead --all":                 "",
		"sink replay main --since yesterday":            "",
		"sink replay main":                              "",
		"sink pause":                                    "",
	} {
		s := new(sinksAPI)
		code, _, errs := serveSinks(t, s)(strings.Fields(args)...)
		if got := strings.Join(s.asked, ", "); got != want || (code == exitDone) != (want != "") {
			t.Errorf("%s: code %d, %s asked %q, want %q", args, code, errs, got, want)
		}
	}
}

// A gateway's sinks are paused, resumed and replayed while it runs, and the table tells of them.
func TestSinksOfAGateway(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out.jsonl")
	cmd := exec.Command(os.Args[0], "serve", "--insecure", "--set", "log.format=json", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", filepath.Join(dir, "data"),
		"--set", "streams.telemetry.filters=[device/+/telemetry]",
		"--set", `sinks.archive={stream: telemetry, where: payload.t > 20, set: {at: "{topic[1]}"}, file: {path: `+out+`}}`)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	p := start(t, cmd, 0)
	publish := func(payload string) {
		t.Helper()
		if ok, text := p.offer("device/m-7/telemetry", []byte(payload)); !ok {
			t.Fatal(text)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		var printed bytes.Buffer
		if code := Run(t.Context(), append(args, "--server", p.admin), nil, &printed, &printed); code != exitDone {
			t.Fatalf("%q: code %d, %s", args, code, &printed)
		}
		return strings.Join(strings.Fields(printed.String()), " ")
	}
	publish(`{"t":21}`)
	publish(`{"t":19}`)
	publish(`{"x":1}`)
	p.eventually("/metrics", `longline_sink_sent_total{sink="archive"} 1`, `longline_sink_filtered_total{sink="archive"} 1`, `longline_sink_dead_total{sink="archive"} 1`, `longline_sink_lag_messages{sink="archive"} 0`)
	run("sink", "pause", "archive")
	publish(`{"t":22}`)
	if got := run("sink", "ls", "--over", "0"); !strings.Contains(got, "archive telemetry file paused 1 1 0 1") {
		t.Error(got)
	}
	run("sink", "resume", "archive")
	p.eventually("/metrics", `longline_sink_sent_total{sink="archive"} 2`, `longline_sink_state{sink="archive",state="running"} 1`)
	run("sink", "replay", "archive", "--dead")
	p.eventually("/metrics", `longline_sink_dead_total{sink="archive"} 2`, `longline_sink_replaying{sink="archive"} 0`)
	run("sink", "replay", "archive", "--from", "1", "--to", "2")
	p.eventually("/metrics", `longline_sink_sent_total{sink="archive"} 3`)
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(written)), "\n")
	for i, want := range []string{`{"t":21,"at":"m-7"}`, `{"t":22,"at":"m-7"}`, `{"t":21,"at":"m-7"}`} {
		if len(lines) != 3 || !strings.Contains(lines[i], want) {
			t.Errorf("line %d of %s is not %s", i, written, want)
		}
	}
	var errs bytes.Buffer
	if code := Run(t.Context(), []string{"sink", "pause", "gone", "--server", p.admin}, nil, &errs, &errs); code != exitFailed || !strings.Contains(errs.String(), `the node has no sink "gone"`) {
		t.Errorf("code %d, %s", code, &errs)
	}
}
