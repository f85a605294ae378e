package api

import (
	"cmp"
	"context"
	"errors"
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
	text   bool
}

// watchedCommands checks what a watcher requests.
func watchedCommands(device string, state longlinev1.CommandState, text bool) (w watched, err error) {
	w = watched{device: device, text: text}
	w.state, err = selectedCommands(device, state)
	return w, err
}

// watcher is an open stream of commands. One goroutine uses it.
type watcher struct {
	changes
	api    *API
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// watchCommands opens a stream of commands that lasts until ctx ends or the API closes. after is the place of an earlier response, or empty; field names it in
// errors.
func (a *API) watchCommands(ctx context.Context, w watched, field, after string) (*watcher, error) {
	commands, err := a.commands()
	if err != nil {
		return nil, err
	}
	own := &ownChanges{watched: w, api: a, commands: commands}
	var all places
	if a.node.Cluster != nil {
		all, err = parsePlaces(field, cmp.Or(after, "0"))
	} else if own.after, err = strconv.ParseUint(cmp.Or(after, "0"), 10, 63); err != nil {
		err = invalid(field, "is %.100q: want the place of an earlier response", after)
	}
	if err != nil {
		return nil, err
	}
	if a.subscribers.Add(1) > int64(a.config.MaxSubscribers) {
		a.subscribers.Add(-1)
		return nil, exhausted("%d subscriptions are open, which is the limit", a.config.MaxSubscribers)
	}
	ctx, cancel := a.lasting(ctx)
	out := &watcher{changes: own, api: a, ctx: ctx, cancel: cancel}
	if a.node.Cluster != nil {
		if out.changes, err = a.watchAll(ctx, w, all); err != nil {
			cancel(nil)
			a.subscribers.Add(-1)
			return nil, ending(ctx, err)
		}
	}
	return out, nil
}

func (w *watcher) close() {
	w.changes.close()
	w.cancel(nil)
	w.api.subscribers.Add(-1)
}

// WatchCommands implements GatewayHandler.
func (a *API) WatchCommands(ctx context.Context, r *connect.Request[longlinev1.WatchCommandsRequest], out *connect.ServerStream[longlinev1.WatchCommandsResponse]) error {
	wanted, err := watchedCommands(r.Msg.Device, r.Msg.State, r.Msg.Text)
	if err != nil {
		return err
	}
	w, err := a.watchCommands(ctx, wanted, "after", r.Msg.After)
	if err != nil {
		return err
	}
	defer w.close()
	told := false // that it is live
	for first := true; ; first = false {
		list, _, live, err := w.next(w.ctx)
		if err != nil {
			return ending(w.ctx, err)
		}
		if len(list) > 0 || live && !told || first {
			response := &longlinev1.WatchCommandsResponse{Commands: list, Place: w.at(), Live: live}
			if err := out.Send(response); err != nil {
				return ending(w.ctx, err)
			}
			told = live
		}
		if err := w.ctx.Err(); err != nil {
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
	s, err := a.queriedCommands(r)
	if err != nil {
		return refuse(w, err)
	}
	defer s.close()
	beginEvents(w)
	var e eventWriter
	e.comment("watching")
	for {
		if err := e.send(w); err != nil {
			return ending(s.ctx, err)
		}
		ctx, cancel := context.WithTimeout(s.ctx, a.config.Heartbeat)
		list, places, _, err := s.next(ctx)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded) && s.ctx.Err() == nil:
			e.comment("heartbeat")
		case err != nil:
			return ending(s.ctx, err)
		}
		for i, c := range list {
			e.command(places[i], c)
		}
	}
}

// queriedCommands watches the commands that a request for events is about.
func (a *API) queriedCommands(r *http.Request) (*watcher, error) {
	query, err := parseQuery(r.URL.RawQuery, []string{"device", "state", "after"})
	if err != nil {
		return nil, err
	}
	state := longlinev1.CommandState_COMMAND_STATE_UNSPECIFIED
	if name := query.Get("state"); name != "" {
		number, ok := longlinev1.CommandState_value[name]
		if !ok {
			return nil, invalid("state", "is %.100q: want a CommandState such as COMMAND_STATE_SENT", name)
		}
		state = longlinev1.CommandState(number)
	}
	field, after := "after", query.Get("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		field, after = "Last-Event-ID", last
	}
	selected, err := watchedCommands(query.Get("device"), state, true)
	if err != nil {
		return nil, err
	}
	return a.watchCommands(r.Context(), selected, field, after)
}

// command writes one event, with an id if place is not empty.
func (e *eventWriter) command(place string, c *longlinev1.Command) {
	data, _ := jsonCodecs[0].Marshal(c) // one line; a command always marshals
	if place != "" {
		e.idLine(place)
	}
	e.buf.WriteString("event: command\ndata: " + string(data) + "\n\n")
}
