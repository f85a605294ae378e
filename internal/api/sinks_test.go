package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/longline/longline/internal/router"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// fakeSinks has one sink, and tells what it is asked.
type fakeSinks struct{ asked []string }

func (*fakeSinks) List() []*longlinev1.Sink {
	return []*longlinev1.Sink{{Name: "archive", Stream: "telemetry", Target: "file", State: "running", Lag: 3}}
}

func (f *fakeSinks) ask(what, name string) error {
	f.asked = append(f.asked, what)
	switch name {
	case "archive":
		return nil
	case "broken":
		return errors.New("no space left")
	}
	return connect.NewError(connect.CodeNotFound, errors.New("no such sink"))
}

func (f *fakeSinks) Pause(_ context.Context, name string) error  { return f.ask("pause", name) }
func (f *fakeSinks) Resume(_ context.Context, name string) error { return f.ask("resume", name) }
func (f *fakeSinks) StopReplay(name string) error                { return f.ask("stop", name) }
func (f *fakeSinks) Replay(name string, r *longlinev1.ReplaySinkRequest) error {
	return f.ask(fmt.Sprint("replay ", r.DeadLetters, r.From, r.To), name)
}

func TestSinks(t *testing.T) {
	w := newWorld(t, Config{}, router.Config{})
	sinks, n := new(fakeSinks), w.node(t)
	n.Sinks = sinks
	w.api = New(Config{Address: "127.0.0.1:0"}, n)
	w.serve(t)
	c := w.client("grpc")
	list, err := c.ListSinks(t.Context(), connect.NewRequest(new(longlinev1.ListSinksRequest)))
	if err != nil || len(list.Msg.Sinks) != 1 || list.Msg.Sinks[0].Lag != 3 {
		t.Fatal(list, err)
	}
	for name, want := range map[string]connect.Code{"archive": 0, "none": connect.CodeNotFound, "broken": connect.CodeInternal} {
		for what, err := range map[string]error{
			"pause":  second(c.PauseSink(t.Context(), connect.NewRequest(&longlinev1.PauseSinkRequest{Sink: name}))),
			"resume": second(c.ResumeSink(t.Context(), connect.NewRequest(&longlinev1.ResumeSinkRequest{Sink: name}))),
			"replay": second(c.ReplaySink(t.Context(), connect.NewRequest(&longlinev1.ReplaySinkRequest{Sink: name, DeadLetters: true}))),
			"stop":   second(c.StopReplay(t.Context(), connect.NewRequest(&longlinev1.StopReplayRequest{Sink: name}))),
		} {
			if err == nil && want != 0 || err != nil && connect.CodeOf(err) != want {
				t.Errorf("%s %s: %v, want %v", what, name, err, want)
			}
		}
	}
	slices.Sort(sinks.asked)
	if got := strings.Join(slices.Compact(sinks.asked), ", "); got != "pause, replay true 0 0, resume, stop" {
		t.Errorf("the sinks were asked %s", got)
	}
}

func second[R any](_ *connect.Response[R], err error) error { return err }

func TestReplayIsChecked(t *testing.T) {
	now := timestamppb.Now()
	later := timestamppb.New(now.AsTime().Add(1))
	w := newWorld(t, Config{}, router.Config{})
	sinks, n := new(fakeSinks), w.node(t)
	n.Sinks = sinks
	w.api = New(Config{Address: "127.0.0.1:0"}, n)
	for _, c := range []struct {
		request *longlinev1.ReplaySinkRequest
		want    string
	}{
		{&longlinev1.ReplaySinkRequest{From: 1}, ""},
		{&longlinev1.ReplaySinkRequest{To: 1}, ""},
		{&longlinev1.ReplaySinkRequest{Since: now, To: 9}, ""},
		{&longlinev1.ReplaySinkRequest{Since: now, Until: later}, ""},
		{&longlinev1.ReplaySinkRequest{DeadLetters: true}, ""},
		{&longlinev1.ReplaySinkRequest{}, "want dead_letters, or a range"},
		{&longlinev1.ReplaySinkRequest{DeadLetters: true, To: 3}, "dead_letters: "},
		{&longlinev1.ReplaySinkRequest{From: 3, Since: now}, "since: "},
		{&longlinev1.ReplaySinkRequest{From: 3, To: 3}, "to: "},
		{&longlinev1.ReplaySinkRequest{Since: later, Until: now}, "until: "},
		{&longlinev1.ReplaySinkRequest{Since: &timestamppb.Timestamp{Nanos: -1}}, "since: "},
		{&longlinev1.ReplaySinkRequest{Until: &timestamppb.Timestamp{Seconds: 1 << 60}}, "until: "},
	} {
		c.request.Sink = "archive"
		_, err := w.api.ReplaySink(context.Background(), connect.NewRequest(c.request))
		var e *connect.Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%v: %v", c.request, err)
		case c.want != "" && (!errors.As(err, &e) || e.Code() != connect.CodeInvalidArgument || !strings.HasPrefix(e.Message(), c.want)):
			t.Errorf("%v: %v, want %s", c.request, err, c.want)
		}
	}
	if len(sinks.asked) != 5 {
		t.Errorf("the sinks were asked %q", sinks.asked)
	}
}
