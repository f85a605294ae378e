package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/message"
)

// streamsPath is the path below which the entries of streams are served as server-sent events.
const streamsPath = "/v1/streams/"

// entryEvents serves entries of a stream as server-sent events. The id of each is its place, so that a client that lost its connection
// goes on where it was (WHATWG HTML, §9.2.4: the Last-Event-ID header).
func (a *API) entryEvents(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	err := a.sendEntries(w, r)
	a.observe(streamsPath, start, err)
}

func (a *API) sendEntries(w http.ResponseWriter, r *http.Request) error {
	c, err := a.openEvents(r)
	if err != nil {
		return refuse(w, err)
	}
	defer c.close()
	beginEvents(w)
	e := eventWriter{qos: message.ExactlyOnce}
	e.begin(c.at(), c.behind())
	for err == nil {
		if err = e.send(w); err == nil {
			err = a.nextEntries(w, &e, c)
		}
	}
	err = ending(c.ctx, err)
	if connect.CodeOf(err) != connect.CodeCanceled {
		e.ended(err)
		_ = e.send(w) // fails when the client has left
	}
	return err
}

// openEvents opens the reader that a request asks for.
func (a *API) openEvents(r *http.Request) (*consumption, error) {
	s, err := a.stream(r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	query, err := parseQuery(r.URL.RawQuery, []string{"consumer", "after"})
	if err != nil {
		return nil, err
	}
	consumer, after := query.Get("consumer"), query.Get("after")
	field := "after"
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		if err := a.validPlace("Last-Event-ID", last); err != nil {
			return nil, err
		}
		if consumer != "" {
			if err := callerOf(r.Context()).raise(auth.Operate); err != nil {
				return nil, err
			}
			_, err := a.acknowledge(r.Context(), s, consumer, "Last-Event-ID", last)
			if err != nil && connect.CodeOf(err) != connect.CodeNotFound { // a new one begins there
				return nil, err
			}
		}
		field, after = "Last-Event-ID", last
	}
	return a.consume(r.Context(), s, consumer, field, after)
}

// eventsBuffer is how many bytes of events gather before they are sent: a batch as JSON can be several times as large as its payloads.
const eventsBuffer = 128 << 10

// nextEntries writes a batch, or a comment when none arrives within the heartbeat. The end of it is left in e, to be sent.
func (a *API) nextEntries(w http.ResponseWriter, e *eventWriter, c *consumption) error {
	ctx, cancel := context.WithTimeout(c.ctx, a.config.Heartbeat)
	batch, missed, err := c.next(ctx)
	cancel()
	switch {
	case errors.Is(err, context.DeadlineExceeded) && c.ctx.Err() == nil:
		e.comment("heartbeat")
		return nil
	case err != nil:
		return err
	}
	if missed > 0 {
		id := c.at()
		if len(batch) > 0 {
			id = c.placeOf(batch[0].Place - 1)
		}
		e.idLine(id)
		e.missed(missed)
	}
	if away := strings.Join(c.away(), " "); away != e.away {
		e.away = away
		e.comment("nodes that cannot be read: " + cmp.Or(away, "none"))
	}
	for i := range batch {
		if err := e.message(c.placeOf(batch[i].Place), batch[i].Message); err != nil {
			return err
		}
		if e.buf.Len() > eventsBuffer {
			if err := e.send(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin tells the client where it is and how much is behind that. It has data, because some clients do not remember the id of an event
// without.
func (e *eventWriter) begin(place string, behind uint64) {
	e.idLine(place)
	fmt.Fprintf(&e.buf, "event: reading\ndata: {\"behind\":%d}\n\n", behind)
}

// ended tells the client why the gateway ends the events.
func (e *eventWriter) ended(err error) {
	why := struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{label(err), err.Error()}
	var c *connect.Error
	if errors.As(err, &c) {
		why.Message = c.Message()
	}
	data, _ := json.Marshal(why) // two strings always marshal
	e.buf.WriteString("event: ended\ndata: " + string(data) + "\n\n")
}
