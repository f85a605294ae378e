package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"text/tabwriter"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/api"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// StreamCmd is longline stream.
type StreamCmd struct {
	Ls   StreamLs   `cmd:"" help:"List the streams of a running gateway and their consumers."`
	Read StreamRead `cmd:"" help:"Print what is in a stream, one line of JSON per message, and end."`
	Tail StreamTail `cmd:"" help:"Print what comes into a stream, one line of JSON per message, until Ctrl-C."`
}

// StreamLs is longline stream ls.
type StreamLs struct{ client }

// Run prints a table.
func (l *StreamLs) Run(ctx context.Context, console *Console) error {
	gateway, err := l.gateway()
	if err != nil {
		return err
	}
	list, err := gateway.ListStreams(ctx, connect.NewRequest(new(longlinev1.ListStreamsRequest)))
	if err != nil {
		return err
	}
	if len(list.Msg.Streams) == 0 {
		_, err = fmt.Fprintln(console.Out, "the gateway has no streams")
		return err
	}
	w := tabwriter.NewWriter(console.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "STREAM\tCONSUMER\tMESSAGES\tBYTES\tAGE\tMISSED\tSTATE") // Flush returns the error
	for _, s := range list.Msg.Streams {
		age := ""
		if s.Oldest != nil {
			age = time.Since(s.Oldest.AsTime()).Round(time.Second).String()
		}
		_, _ = fmt.Fprintf(w, "%s\t\t%d\t%s\t%s\t\t%s\n", s.Name, s.Messages, inUnits(s.Bytes), age, cmp.Or(s.Error, strings.Join(s.Filters, " ")))
		for _, c := range s.Consumers {
			state := "nobody reads"
			if c.Reading {
				state = "reading"
			}
			lag := c.Lag
			_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%d\t%s\n", s.Name, c.Name, lag.GetMessages(), inUnits(lag.GetBytes()), lag.GetAge().AsDuration().Round(time.Second), c.Missed, state)
		}
	}
	return w.Flush()
}

// inUnits formats a number of bytes.
func inUnits(bytes uint64) string {
	v, unit := float64(bytes), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// reading are the flags of the commands that read a stream.
type reading struct {
	client
	Stream   string `arg:"" help:"Name of the stream."`
	Consumer string `placeholder:"NAME" help:"Go on where this consumer was, and acknowledge what is printed."`
}

// StreamRead is longline stream read.
type StreamRead struct {
	reading
	After string `placeholder:"WHERE" help:"Where to begin without a consumer, or with a new one: behind a place; at a time such as 2026-11-27T12:00:00Z; at first (the default); or at latest."`
}

// Run prints what is in the stream.
func (r *StreamRead) Run(ctx context.Context, console *Console) error {
	return r.print(ctx, console, &longlinev1.ConsumeRequest{After: r.After, ToEnd: true}, readTries)
}

// StreamTail is longline stream tail.
type StreamTail struct {
	reading
	After string `default:"latest" placeholder:"WHERE" help:"Where to begin without a consumer, or with a new one: behind a place; at a time such as 2026-11-27T12:00:00Z; at first; or at latest (the default)."`
}

// Run prints what comes into the stream.
func (t *StreamTail) Run(ctx context.Context, console *Console) error {
	return t.print(ctx, console, &longlinev1.ConsumeRequest{After: t.After}, 0)
}

// readTries is how often in a row read tries to get its connection back.
const readTries = 10

// print prints what a request consumes. When the connection is lost it goes on where it was, and gives up after some tries in a
// row that brought nothing; 0 means never.
func (r *reading) print(ctx context.Context, console *Console, request *longlinev1.ConsumeRequest, tries int) error {
	gateway, err := r.gateway()
	if err != nil {
		return err
	}
	request.Stream, request.Consumer, request.Text = r.Stream, r.Consumer, true
	p := printer{gateway: gateway, console: console, request: request}
	for failed := 0; ; failed++ {
		p.heard = false
		err := p.consume(ctx)
		if p.heard {
			failed = 0
		}
		switch {
		case err == nil, ctx.Err() != nil:
			return nil
		case !p.began, !passes(err), tries > 0 && failed+1 >= tries:
			return err
		}
		wait := rand.N(min(time.Second<<min(failed, 5), maxPause)) // full jitter
		_, _ = fmt.Fprintf(console.Err, "longline: %v; trying again in %v\n", err, wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// maxPause is the longest time between two tries.
const maxPause = 30 * time.Second

// passes reports whether it may help to try again: the connection was lost, or the gateway cannot serve it now.
func passes(err error) bool {
	if !connect.IsWireError(err) {
		var failed *connect.Error
		return errors.As(err, &failed) // otherwise it is standard output that failed
	}
	code := connect.CodeOf(err)
	return code == connect.CodeUnavailable || code == connect.CodeResourceExhausted
}

// printer prints entries.
type printer struct {
	gateway longlinev1connect.GatewayClient
	console *Console
	request *longlinev1.ConsumeRequest // goes on behind what is printed
	began   bool                       // the gateway has answered once
	heard   bool                       // and since the last call of consume
	printed string                     // the place to acknowledge; empty if there is none
}

// consume prints entries until the stream ends, and acknowledges them if there is a consumer.
func (p *printer) consume(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := p.acknowledge(ctx); err != nil { // what the last call printed, so that it does not come again
		return err
	}
	list, err := p.gateway.Consume(ctx, connect.NewRequest(p.request))
	if err != nil {
		return err
	}
	defer func() { _ = list.Close() }()
	for list.Receive() {
		p.began, p.heard = true, true
		if err := p.take(ctx, list.Msg()); err != nil {
			return err
		}
	}
	return list.Err()
}

// take prints a batch.
func (p *printer) take(ctx context.Context, batch *longlinev1.ConsumeResponse) error {
	if batch.Missed > 0 {
		_, _ = fmt.Fprintf(p.console.Err, "longline: %d messages are no longer in the stream\n", batch.Missed)
	}
	out := bufio.NewWriter(p.console.Out)
	for _, e := range batch.Entries {
		line, err := api.EntryJSON(e)
		if err != nil {
			return err
		}
		_, _ = out.Write(line) // Flush returns the error
	}
	if err := out.Flush(); err != nil {
		return err
	}
	p.request.After = batch.Place
	if p.request.Consumer == "" || len(batch.Entries) == 0 {
		return nil
	}
	p.printed = batch.Place
	return p.acknowledge(ctx)
}

// acknowledge makes the consumer done with what is printed.
func (p *printer) acknowledge(ctx context.Context) error {
	if p.printed == "" {
		return nil
	}
	_, err := p.gateway.Acknowledge(ctx, connect.NewRequest(&longlinev1.AcknowledgeRequest{
		Stream: p.request.Stream, Consumer: p.request.Consumer, Place: p.printed,
	}))
	if err == nil {
		p.printed = ""
	}
	return err
}
