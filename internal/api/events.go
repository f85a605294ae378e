package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect"
)

// eventsPath is the path that streams messages as server-sent events.
const eventsPath = "/v1/subscribe"

// events streams messages as server-sent events (WHATWG HTML, §9.2).
func (a *API) events(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	err := a.streamEvents(w, r)
	a.observe(eventsPath, start, err)
}

func (a *API) streamEvents(w http.ResponseWriter, r *http.Request) error {
	wanted, err := a.config.queried(r.URL.RawQuery)
	if err != nil {
		return refuse(w, err)
	}
	s, err := a.subscribe(r.Context(), wanted)
	if err != nil {
		return refuse(w, err)
	}
	defer s.close()
	beginEvents(w)
	e := eventWriter{qos: wanted.qos}
	e.comment("subscribed")
	for {
		if err := e.send(w); err != nil {
			return ending(s.ctx, err)
		}
		if err := a.nextEvents(&e, s); err != nil {
			return ending(s.ctx, err)
		}
	}
}

// nextEvents writes a batch, or a comment when none arrives within the heartbeat.
func (a *API) nextEvents(e *eventWriter, s *subscription) error {
	ctx, cancel := context.WithTimeout(s.ctx, a.config.Heartbeat)
	defer cancel()
	messages, missed, err := s.next(ctx)
	switch {
	case err == nil:
		return e.batch(messages, missed)
	case errors.Is(err, context.DeadlineExceeded) && s.ctx.Err() == nil:
		e.comment("heartbeat")
		return nil
	}
	return err
}

// refuse answers a request for events that is refused, with the HTTP status of its code.
func refuse(w http.ResponseWriter, err error) error {
	status, text := http.StatusInternalServerError, err.Error()
	var c *connect.Error
	if errors.As(err, &c) {
		text = c.Message()
		switch c.Code() {
		case connect.CodeInvalidArgument, connect.CodeFailedPrecondition:
			status = http.StatusBadRequest
		case connect.CodeUnauthenticated:
			status = http.StatusUnauthorized
		case connect.CodePermissionDenied:
			status = http.StatusForbidden
		case connect.CodeResourceExhausted:
			status = http.StatusTooManyRequests
		case connect.CodeNotFound:
			status = http.StatusNotFound
		case connect.CodeUnavailable:
			status = http.StatusServiceUnavailable
		}
	}
	http.Error(w, text, status)
	return err
}
