package api

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/service"
)

// Limits of a backend that serves; serve.proto names them.
const (
	defaultRoom    = 16
	maxRoom        = 1000
	maxBackendName = 128 // bytes
)

// serving is an open stream on which a backend gets calls of devices.
type serving struct {
	api     *API
	backend *service.Backend
	ctx     context.Context
	cancel  context.CancelCauseFunc
}

// serve opens a stream that lasts until ctx ends, the API closes, or the caller's token may not serve the service any more.
func (a *API) serve(ctx context.Context, name, backend string, room uint64) (*serving, error) {
	served, err := a.served(ctx, name)
	if err != nil {
		return nil, err
	}
	if room > maxRoom {
		return nil, invalid("room", "is %d: want 1 to %d", room, maxRoom)
	}
	if err := validText("name", backend, maxBackendName); err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	b, err := served.Join(cmp.Or(backend, who.Name), int(cmp.Or(room, defaultRoom)))
	if err != nil {
		return nil, coded(err)
	}
	s := &serving{api: a, backend: b}
	s.ctx, s.cancel = a.lastingWhile(ctx, func() error { return who.mayServe(name) })
	return s, nil
}

func (s *serving) close() {
	s.backend.Leave()
	s.cancel(nil)
}

// next waits for calls and returns as many as one batch holds.
func (s *serving) next(ctx context.Context) ([]service.Work, []service.Ended, error) {
	most := s.api.config.Batch
	return s.backend.Take(ctx, most.Messages, most.Bytes)
}

// served returns the service of a name, if the caller may serve it.
func (a *API) served(ctx context.Context, name string) (*service.Served, error) {
	if err := callerOf(ctx).mayServe(name); err != nil {
		return nil, err
	}
	if a.node.Services != nil {
		if s := a.node.Services.Get(name); s != nil {
			if served := s.Served(); served != nil {
				return served, nil
			}
			return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("the service has instances of its own: the configuration does not let backends serve it"))
		}
	}
	return nil, connect.NewError(connect.CodeNotFound, errors.New("the configuration has no service of this name"))
}

// reply returns a backend's answer, with the content type that a payload without one has if it is text.
func reply(payload []byte, isText bool, contentType string) *service.Reply {
	if contentType == "" && isText && len(payload) > 0 {
		contentType = plainText
		if validJSON(payload) {
			contentType = message.JSON
		}
	}
	return &service.Reply{Payload: payload, ContentType: contentType}
}

// notTaken returns the reason that a backend is told for an answer that was not taken.
func notTaken(err error) string {
	switch {
	case errors.Is(err, service.ErrNoCall):
		return "unknown"
	case errors.Is(err, service.ErrTooLarge):
		return service.TooLarge
	}
	return service.InvalidAnswer
}

// quota bounds what the caller with one token has open. Safe from any goroutine.
type quota struct {
	most int // static after construction

	mu   sync.Mutex
	open map[string]int // by the ID of the token
}

// take counts one in; the caller calls give.
func (q *quota) take(id string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open[id] >= q.most {
		return exhausted("the token has %d streams that serve services, which is the limit", q.most)
	}
	if q.open == nil {
		q.open = make(map[string]int)
	}
	q.open[id]++
	return nil
}

func (q *quota) give(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open[id]--; q.open[id] == 0 {
		delete(q.open, id)
	}
}
