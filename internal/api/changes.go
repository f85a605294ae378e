package api

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/protobuf/proto"

	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// changes are the commands that a watcher sees. One goroutine uses them. They hold places and no commands, so that a slow watcher costs nothing.
type changes interface {
	// next returns commands that have changed, and the place of each. At first, and after it has returned live, it waits for a change, except that the first call
	// may return none. live says that there are no more at present.
	next(ctx context.Context) (list []*longlinev1.Command, places []string, live bool, err error)
	// at returns the place behind which the next call goes on.
	at() string
	close()
}

// ownChanges are those of this node.
type ownChanges struct {
	watched
	api      *API
	commands Commands
	after    uint64
	live     bool // next has returned that
}

func (w *ownChanges) at() string { return place(w.after) }
func (w *ownChanges) close()     {}

func (w *ownChanges) next(ctx context.Context) (list []*longlinev1.Command, places []string, live bool, err error) {
	if w.live {
		if err := w.commands.Wait(ctx, w.after); err != nil {
			return nil, nil, true, err
		}
	}
	most := w.api.config.Batch
	list, places, w.live = w.read(ctx, most.Messages, most.Bytes)
	return list, places, w.live, nil
}

// read returns the commands that have changed, as many as one batch holds.
func (w *ownChanges) read(ctx context.Context, messages, most int) (list []*longlinev1.Command, places []string, live bool) {
	for bytes := 0; len(list) < messages && bytes < most && ctx.Err() == nil; {
		some, at, more := w.commands.Changed(w.device, w.state, w.after, 1)
		w.after = at
		for _, c := range some {
			bytes += c.Size()
			list = append(list, shown(c, w.text, answers))
			places = append(places, place(at))
		}
		if !more {
			return list, places, true
		}
	}
	return list, places, false
}

// allChanges are those of all nodes.
type allChanges struct {
	*gather[*longlinev1.WatchCommandsResponse]

	// Static after construction.
	watched
	api *API

	places places
	live   map[string]bool // nodes that have no more at present
	first  []gathered[*longlinev1.WatchCommandsResponse]
}

// watchAll begins to watch the commands of all nodes behind a place. It returns when all have answered or have not in time.
func (a *API) watchAll(ctx context.Context, w watched, after places) (*allChanges, error) {
	c := &allChanges{watched: w, api: a, places: after, live: make(map[string]bool)}
	c.gather = newGather(ctx, a.node.Cluster, c.read)
	err := c.begin(ctx, func(g gathered[*longlinev1.WatchCommandsResponse]) { c.first = append(c.first, g) })
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// read returns what reads a node's changes.
func (w *allChanges) read(node string) nodeReader[*longlinev1.WatchCommandsResponse] {
	r := &longlinev1.WatchCommandsRequest{Device: w.device, State: longlinev1.CommandState(w.state), Text: w.text, After: place(w.places.at[node])}
	return func(ctx context.Context, tell func(*longlinev1.WatchCommandsResponse, error) bool) {
		asks, first := r, true
		for {
			answer, err := w.api.changesOf(ctx, node, asks, first)
			if !tell(answer, err) {
				return
			}
			if err == nil {
				asks, first = proto.CloneOf(asks), false
				asks.After = answer.Place
			}
		}
	}
}

func (w *allChanges) at() string { return w.places.String() }

func (w *allChanges) next(ctx context.Context) (list []*longlinev1.Command, places []string, live bool, err error) {
	for {
		var a gathered[*longlinev1.WatchCommandsResponse]
		if len(w.first) > 0 {
			a, w.first = w.first[0], w.first[1:]
		} else if a, _, err = w.gather.next(ctx); err != nil {
			return nil, nil, false, err
		}
		if a.node == "" {
			continue
		}
		was := w.allLive()
		w.places.at[a.node], _ = strconv.ParseUint(a.answer.Place, 10, 64)
		w.live[a.node] = a.answer.Live
		list = a.answer.Commands
		live = w.allLive()
		if len(list) == 0 && (live == was || len(w.first) > 0) {
			continue
		}
		for i := range list { // a client that goes on between two of them gets the others again
			at := w.at()
			if i+1 < len(list) {
				at = ""
			}
			places = append(places, at)
		}
		return list, places, live, nil
	}
}

// allLive reports whether no node that answers has more at present.
func (w *allChanges) allLive() bool {
	if len(w.first) > 0 {
		return false
	}
	for node := range w.nodes {
		if !w.isAway(node) && !w.live[node] {
			return false
		}
	}
	return true
}

// changesOf asks a node, which may be this one, for changes. The first answer comes at once, and any other when there is something.
func (a *API) changesOf(ctx context.Context, node string, r *longlinev1.WatchCommandsRequest, first bool) (*longlinev1.WatchCommandsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeWait+a.asking)
	defer cancel()
	if node == a.self() {
		response, err := a.changesHere(ctx, r, !first)
		return response, coded(err)
	}
	procedure := longlinev1connect.GatewayWatchCommandsProcedure
	if !first {
		procedure += waits
	}
	response := new(longlinev1.WatchCommandsResponse)
	if _, err := a.ask(ctx, node, procedure, r, nil, response); err != nil {
		return nil, err
	}
	return response, nil
}

// waits ends the procedure of a request between nodes that waits for a change.
const waits = "/wait"

// changesHere answers a request for the changes of this node's commands. With wait it waits for one, nodeWait at most.
func (a *API) changesHere(ctx context.Context, r *longlinev1.WatchCommandsRequest, wait bool) (*longlinev1.WatchCommandsResponse, error) {
	commands, err := a.commands()
	if err != nil {
		return nil, err
	}
	selected, err := watchedCommands(r.Device, r.State, r.Text)
	if err != nil {
		return nil, err
	}
	w := &ownChanges{watched: selected, api: a, commands: commands}
	if w.after, err = parsePlace("after", r.After); err != nil {
		return nil, err
	}
	if wait {
		ctx, cancel := context.WithTimeout(ctx, nodeWait)
		defer cancel()
		if err := commands.Wait(ctx, w.after); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
	}
	list, _, live := w.read(ctx, mostPerNode, mostPart)
	return &longlinev1.WatchCommandsResponse{Commands: list, Place: place(w.after), Live: live}, nil
}
