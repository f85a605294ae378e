package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/command"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// commandsPath is the path that streams commands as server-sent events.
const commandsPath = "/v1/commands"

// watched selects what a watcher of commands sees.
type watched struct {
	device string
	state  command.State
	after  uint64
	text   bool
}

// watchedCommands checks what a watcher requests. after names its field in errors.
func watchedCommands(device string, state longlinev1.CommandState, field, after string, text bool) (w watched, err error) {
	w = watched{device: device, text: text}
	if w.state, err = selectedCommands(device, state); err == nil && after != "" {
		if w.after, err = strconv.ParseUint(after, 10, 63); err != nil {
			err = invalid(field, "is %.100q: want the place of an earlier response", after)
		}
	}
	return w, err
}

// watcher is an open stream of commands. One goroutine uses it. It holds a place and no commands, so that a slow one costs nothing.
type watcher struct {
	watched
	api      *API
	commands Commands
	ctx      context.Context
	cancel   context.CancelCauseFunc
	places   []uint64 // of the commands that next returned last
}

// watchCommands opens a stream of commands that lasts until ctx ends or the API closes.
func (a *API) watchCommands(ctx context.Context, w watched) (*watcher, error) {
	commands, err := a.commands()
	if err != nil {
		return nil, err
	}
	if a.subscribers.Add(1) > int64(a.config.MaxSubscribers) {
		a.subscribers.Add(-1)
		return nil, exhausted("%d subscriptions are open, which is the limit", a.config.MaxSubscribers)
	}
	ctx, cancel := a.lasting(ctx)
	return &watcher{watched: w, api: a, commands: commands, ctx: ctx, cancel: cancel}, nil
}

func (w *watcher) close() {
	w.cancel(nil)
	w.api.subscribers.Add(-1)
}

// next returns the commands that have changed, as many as one batch holds. live says that there are no more at present; list
// is empty only then.
func (w *watcher) next() (list []*longlinev1.Command, live bool) {
	most := w.api.config.Batch
	w.places = w.places[:0]
	for bytes := 0; len(list) < most.Messages && bytes < most.Bytes && w.ctx.Err() == nil; {
		some, place, more := w.commands.Changed(w.device, w.state, w.after, 1)
		w.after = place
		for _, c := range some {
			bytes += c.Size()
			list = append(list, shown(c, w.text, answers))
			w.places = append(w.places, place)
		}
		if !more {
			return list, true
		}
	}
	return list, false
}

// WatchCommands implements GatewayHandler.
func (a *API) WatchCommands(ctx context.Context, r *connect.Request[longlinev1.WatchCommandsRequest], out *connect.ServerStream[longlinev1.WatchCommandsResponse]) error {
	wanted, err := watchedCommands(r.Msg.Device, r.Msg.State, "after", r.Msg.After, r.Msg.Text)
	if err != nil {
		return err
	}
	w, err := a.watchCommands(ctx, wanted)
	if err != nil {
		return err
	}
	defer w.close()
	for first := true; ; first = false {
		list, live := w.next()
		if len(list) > 0 || first {
			response := &longlinev1.WatchCommandsResponse{Commands: list, Place: strconv.FormatUint(w.after, 10), Live: live}
			if err := out.Send(response); err != nil {
				return ending(w.ctx, err)
			}
		}
		if live {
			err = w.commands.Wait(w.ctx, w.after)
		}
		if err == nil {
			err = w.ctx.Err()
		}
		if err != nil {
			return ending(w.ctx, err)
		}
	}
}

// commandEvents streams commands as server-sent events. The id of each is its place, so that a client that lost its connection
// goes on where it was (WHATWG HTML, §9.2.4: the Last-Event-ID header).
func (a *API) commandEvents(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	err := a.sendCommands(w, r)
	a.observe(commandsPath, start, err)
}

func (a *API) sendCommands(w http.ResponseWriter, r *http.Request) error {
	wanted, err := a.queriedCommands(r)
	if err != nil {
		return refuse(w, err)
	}
	s, err := a.watchCommands(r.Context(), wanted)
	if err != nil {
		return refuse(w, err)
	}
	defer s.close()
	beginEvents(w)
	var e eventWriter
	e.comment("watching")
	for {
		list, live := s.next()
		for i, c := range list {
			e.command(s.places[i], c)
		}
		if err := e.send(w); err != nil {
			return ending(s.ctx, err)
		}
		if live {
			err = s.wait(&e, a.config.Heartbeat)
		}
		if err == nil {
			err = s.ctx.Err()
		}
		if err != nil {
			return ending(s.ctx, err)
		}
	}
}

// wait waits for a change, or writes a comment when none comes within the heartbeat.
func (w *watcher) wait(e *eventWriter, heartbeat time.Duration) error {
	ctx, cancel := context.WithTimeout(w.ctx, heartbeat)
	defer cancel()
	err := w.commands.Wait(ctx, w.after)
	if errors.Is(err, context.DeadlineExceeded) && w.ctx.Err() == nil {
		e.comment("heartbeat")
		return nil
	}
	return err
}

// queriedCommands reads which commands a request for events is about.
func (a *API) queriedCommands(r *http.Request) (w watched, err error) {
	query, err := parseQuery(r.URL.RawQuery, []string{"device", "state", "after"})
	if err != nil {
		return w, err
	}
	state := longlinev1.CommandState_COMMAND_STATE_UNSPECIFIED
	if name := query.Get("state"); name != "" {
		number, ok := longlinev1.CommandState_value[name]
		if !ok {
			return w, invalid("state", "is %.100q: want a CommandState such as COMMAND_STATE_SENT", name)
		}
		state = longlinev1.CommandState(number)
	}
	field, after := "after", query.Get("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		field, after = "Last-Event-ID", last
	}
	return watchedCommands(query.Get("device"), state, field, after, true)
}

// command writes one event.
func (e *eventWriter) command(place uint64, c *longlinev1.Command) {
	data, _ := jsonCodecs[0].Marshal(c) // one line; a command always marshals
	fmt.Fprintf(&e.buf, "id: %d\nevent: command\ndata: %s\n\n", place, data)
}
