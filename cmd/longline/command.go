package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// CommandCmd is longline command.
type CommandCmd struct {
	Create CommandCreate `cmd:"" help:"Create a command to a device and print it."`
	Get    CommandGet    `cmd:"" help:"Print a command."`
	Ls     CommandLs     `cmd:"" help:"List the commands of a running gateway."`
	Cancel CommandCancel `cmd:"" help:"Cancel a command and print it."`
	Watch  CommandWatch  `cmd:"" help:"Print commands, one line of JSON each, and again whenever one changes, until Ctrl-C."`
}

// printCommand prints a command as a line of JSON, with payloads as text where they are.
func (c *Console) printCommand(x *longlinev1.Command) error {
	showText(&x.Payload, &x.Text)
	for _, a := range []*longlinev1.CommandAnswer{x.Answer, x.Late} {
		if a != nil {
			showText(&a.Payload, &a.Text)
		}
	}
	line, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(x)
	if err == nil {
		_, err = fmt.Fprintf(c.Out, "%s\n", line)
	}
	return err
}

func showText(payload *[]byte, text **string) {
	if utf8.Valid(*payload) && len(*payload) > 0 {
		s := string(*payload)
		*payload, *text = nil, &s
	}
}

// CommandCreate is longline command create.
type CommandCreate struct {
	client
	Device    string         `arg:"" help:"Id of the device."`
	Method    string         `arg:"" help:"What the device is to do."`
	Payload   string         `arg:"" optional:"" help:"Payload, as text."`
	TTL       *time.Duration `name:"ttl" placeholder:"DURATION" help:"How long the device has for its answer; the gateway's default when left out."`
	Key       string         `placeholder:"KEY" help:"Idempotency key: the same request with the same key creates no second command."`
	Exclusive bool           `help:"Send it when no other command is in flight to the device, and no other until it has ended."`
	Wait      bool           `help:"Wait until the command has ended, and print it then. Exit code 1 unless it has succeeded."`
}

// Run creates a command.
func (c *CommandCreate) Run(ctx context.Context, console *Console) error {
	gateway, err := c.gateway()
	if err != nil {
		return err
	}
	r := &longlinev1.CreateCommandRequest{Device: c.Device, Method: c.Method, IdempotencyKey: c.Key, Exclusive: c.Exclusive}
	if c.Payload != "" {
		r.Text = &c.Payload
	}
	if c.TTL != nil {
		r.Ttl = durationpb.New(*c.TTL)
	}
	created, err := gateway.CreateCommand(ctx, connect.NewRequest(r))
	if err != nil {
		return err
	}
	command := created.Msg.Command
	if !c.Wait {
		return console.printCommand(command)
	}
	if command, err = awaitEnd(ctx, gateway, command); err != nil {
		return err
	}
	if err := console.printCommand(command); err != nil {
		return err
	}
	if command.State != longlinev1.CommandState_COMMAND_STATE_SUCCEEDED {
		return &exitError{code: exitFailed}
	}
	return nil
}

// awaitEnd returns the command when it has ended.
func awaitEnd(ctx context.Context, gateway longlinev1connect.GatewayClient, c *longlinev1.Command) (*longlinev1.Command, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list, err := gateway.WatchCommands(ctx, connect.NewRequest(&longlinev1.WatchCommandsRequest{Device: c.Device, Text: true}))
	if err != nil {
		return nil, err
	}
	defer func() { _ = list.Close() }()
	for list.Receive() {
		for _, now := range list.Msg().Commands {
			if now.Id == c.Id && now.Ended != nil {
				return now, nil
			}
		}
	}
	return nil, list.Err()
}

// CommandGet is longline command get.
type CommandGet struct {
	client
	ID uint64 `arg:"" name:"id" help:"Id of the command."`
}

// Run prints the command.
func (g *CommandGet) Run(ctx context.Context, console *Console) error {
	gateway, err := g.gateway()
	if err != nil {
		return err
	}
	r, err := gateway.GetCommand(ctx, connect.NewRequest(&longlinev1.GetCommandRequest{Id: g.ID}))
	if err != nil {
		return err
	}
	return console.printCommand(r.Msg.Command)
}

// CommandCancel is longline command cancel.
type CommandCancel struct {
	client
	ID uint64 `arg:"" name:"id" help:"Id of the command."`
}

// Run cancels the command.
func (c *CommandCancel) Run(ctx context.Context, console *Console) error {
	gateway, err := c.gateway()
	if err != nil {
		return err
	}
	r, err := gateway.CancelCommand(ctx, connect.NewRequest(&longlinev1.CancelCommandRequest{Id: c.ID}))
	if err != nil {
		return err
	}
	return console.printCommand(r.Msg.Command)
}

// commandFilter are the flags that select commands.
type commandFilter struct {
	Device string `placeholder:"ID" help:"Only commands to this device."`
	State  string `placeholder:"STATE" enum:",queued,sent,succeeded,failed,expired,cancelled,unknown" default:"" help:"Only commands that are queued, sent, succeeded, failed, expired, cancelled or unknown."`
}

// statePrefix begins the names of CommandState.
const statePrefix = "COMMAND_STATE_"

func (f *commandFilter) state() longlinev1.CommandState {
	return longlinev1.CommandState(longlinev1.CommandState_value[statePrefix+strings.ToUpper(f.State)])
}

// CommandLs is longline command ls.
type CommandLs struct {
	client
	commandFilter
}

// Run prints a table.
func (l *CommandLs) Run(ctx context.Context, console *Console) error {
	gateway, err := l.gateway()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(console.Out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tDEVICE\tMETHOD\tSTATE\tATTEMPTS\tCREATED\tNOTE") // Flush returns the error
	r := &longlinev1.ListCommandsRequest{Device: l.Device, State: l.state(), PageSize: 1000}
	for {
		page, err := gateway.ListCommands(ctx, connect.NewRequest(r))
		if err != nil {
			return err
		}
		for _, c := range page.Msg.Commands {
			state := strings.ToLower(strings.TrimPrefix(c.State.String(), statePrefix))
			_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\n", c.Id, c.Device, c.Method, state, c.Attempts,
				c.Created.AsTime().Format(time.RFC3339), noteOf(c))
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if r.PageToken = page.Msg.NextPageToken; r.PageToken == "" {
			return nil
		}
	}
}

// noteOf returns what matters of a command beside its state.
func noteOf(c *longlinev1.Command) string {
	switch e := c.GetAnswer().GetError(); {
	case e != nil:
		return e.Code + ": " + e.Reason
	case c.Late != nil:
		return "answered too late"
	}
	return c.Held
}

// CommandWatch is longline command watch.
type CommandWatch struct {
	client
	commandFilter
}

// Run prints commands as they change.
func (w *CommandWatch) Run(ctx context.Context, console *Console) error {
	gateway, err := w.gateway()
	if err != nil {
		return err
	}
	r := &longlinev1.WatchCommandsRequest{Device: w.Device, State: w.state(), Text: true}
	list, err := gateway.WatchCommands(ctx, connect.NewRequest(r))
	if err != nil {
		return err
	}
	defer func() { _ = list.Close() }()
	for list.Receive() {
		for _, c := range list.Msg().Commands {
			if err := console.printCommand(c); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return nil // Ctrl-C is how it ends
	}
	return list.Err()
}
