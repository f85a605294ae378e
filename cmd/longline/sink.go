package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// SinkCmd is longline sink.
type SinkCmd struct {
	Ls     SinkLs     `cmd:"" help:"List the sinks of a running gateway."`
	Pause  SinkPause  `cmd:"" help:"Make a sink send nothing more, also after a restart."`
	Resume SinkResume `cmd:"" help:"Make a sink go on that was paused or has stopped."`
	Test   SinkTest   `cmd:"" help:"Print what a sink would write of a message. Contacts nobody."`
	Replay SinkReplay `cmd:"" help:"Make a sink send again what it could not write, or what a part of its stream has."`
}

// SinkLs is longline sink ls.
type SinkLs struct {
	client
	Over time.Duration `default:"1s" placeholder:"DURATION" help:"How long the rate is measured (${default}); 0 leaves it out."`
}

// Run prints a table.
func (l *SinkLs) Run(ctx context.Context, console *Console) error {
	gateway, err := l.gateway()
	if err != nil {
		return err
	}
	list, rates, err := l.measure(ctx, gateway)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		_, err = fmt.Fprintln(console.Out, "the gateway has no sinks")
		return err
	}
	w := tabwriter.NewWriter(console.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SINK\tFROM\tTO\tSTATE\tLAG\tRATE\tSENT\tRETRIES\tDEAD\tPROBLEM") // Flush returns the error
	for _, s := range list {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%d\t%d\t%s\n", s.Name, s.Stream, s.Target, s.State, s.Lag, rates[s.Name], s.Sent, s.Failures, s.Dead, problemOf(s))
		if r := s.Replay; r != nil {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\treplaying\t%d\t\t%d\t\t\t\n", s.Name, r.Stream, s.Target, after(r.Place, r.End), after(r.From, r.Place))
		}
	}
	return w.Flush()
}

// measure lists the sinks, and the messages per second that each has sent meanwhile, by its name.
func (l *SinkLs) measure(ctx context.Context, gateway longlinev1connect.GatewayClient) (list []*longlinev1.Sink, rates map[string]string, err error) {
	before, err := gateway.ListSinks(ctx, connect.NewRequest(new(longlinev1.ListSinksRequest)))
	if err != nil {
		return nil, nil, err
	}
	if l.Over <= 0 || len(before.Msg.Sinks) == 0 {
		return before.Msg.Sinks, nil, nil
	}
	begun := time.Now()
	select {
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	case <-time.After(l.Over):
	}
	now, err := gateway.ListSinks(ctx, connect.NewRequest(new(longlinev1.ListSinksRequest)))
	if err != nil {
		return nil, nil, err
	}
	took, sent := time.Since(begun), make(map[string]uint64)
	for _, s := range before.Msg.Sinks {
		sent[s.Name] = s.Sent
	}
	rates = make(map[string]string)
	for _, s := range now.Msg.Sinks {
		if was, known := sent[s.Name]; known { // a sink that is new, or whose counters began again, has no rate yet
			rates[s.Name] = strconv.FormatFloat(float64(after(was, s.Sent))/took.Seconds(), 'f', 0, 64) + "/s"
		}
	}
	return now.Msg.Sinks, rates, nil
}

// after returns how far to is after from, 0 if it is not.
func after(from, to uint64) uint64 {
	if to < from {
		return 0
	}
	return to - from
}

// problemOf returns what is wrong with a sink, on one line: some of it may be the other side's words.
func problemOf(s *longlinev1.Sink) string {
	problem := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s.Problem)
	if problem != "" && s.Since != nil {
		problem += " (for " + time.Since(s.Since.AsTime()).Round(time.Second).String() + ")"
	}
	for _, n := range []struct {
		count uint64
		what  string
	}{{s.Missed, "messages missed"}, {s.DeadLost, "dead letters lost"}} {
		if n.count == 0 {
			continue
		}
		if problem != "" {
			problem += "; "
		}
		problem += strconv.FormatUint(n.count, 10) + " " + n.what
	}
	return problem
}

// oneSink are the flags of the commands about one sink.
type oneSink struct {
	client
	Name string `arg:"" help:"Name of the sink."`
}

// SinkPause is longline sink pause.
type SinkPause struct{ oneSink }

// Run pauses the sink.
func (p *SinkPause) Run(ctx context.Context) error {
	gateway, err := p.gateway()
	if err == nil {
		_, err = gateway.PauseSink(ctx, connect.NewRequest(&longlinev1.PauseSinkRequest{Sink: p.Name}))
	}
	return err
}

// SinkResume is longline sink resume.
type SinkResume struct{ oneSink }

// Run resumes the sink.
func (r *SinkResume) Run(ctx context.Context) error {
	gateway, err := r.gateway()
	if err == nil {
		_, err = gateway.ResumeSink(ctx, connect.NewRequest(&longlinev1.ResumeSinkRequest{Sink: r.Name}))
	}
	return err
}

// SinkReplay is longline sink replay.
type SinkReplay struct {
	oneSink
	Dead  bool       `xor:"what" help:"The sink's dead letters that were not replayed yet."`
	All   bool       `xor:"what" help:"All that the stream has."`
	Stop  bool       `xor:"what" help:"End the replay that is under way."`
	From  uint64     `placeholder:"PLACE" help:"What the stream has from this place on."`
	To    uint64     `placeholder:"PLACE" help:"Up to, and without, this place; left out, up to the newest now."`
	Since *time.Time `placeholder:"TIME" help:"What the stream took at this time, such as 2026-11-27T12:00:00Z, or later."`
	Until *time.Time `placeholder:"TIME" help:"And before this time."`
}

// Run begins a replay, or ends one.
func (r *SinkReplay) Run(ctx context.Context) error {
	gateway, err := r.gateway()
	if err != nil {
		return err
	}
	if !r.Dead && !r.All && !r.Stop && r.From == 0 && r.To == 0 && r.Since == nil && r.Until == nil {
		return &exitError{exitUsage, errors.New("want --dead, --all, or a range: --from, --to, --since, --until")}
	}
	if r.Stop {
		_, err = gateway.StopReplay(ctx, connect.NewRequest(&longlinev1.StopReplayRequest{Sink: r.Name}))
		return err
	}
	request := &longlinev1.ReplaySinkRequest{Sink: r.Name, DeadLetters: r.Dead, From: r.From, To: r.To}
	if r.All {
		request.From = max(request.From, 1)
	}
	if r.Since != nil {
		request.Since = timestamppb.New(*r.Since)
	}
	if r.Until != nil {
		request.Until = timestamppb.New(*r.Until)
	}
	_, err = gateway.ReplaySink(ctx, connect.NewRequest(request))
	return err
}
