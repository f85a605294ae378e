package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// errEnded ends the streams of a node that shuts down.
var errEnded = connect.NewError(connect.CodeUnavailable, errors.New("the node is shutting down"))

// selection is what a subscriber asks for.
type selection struct {
	filters  []string
	qos      message.QoS
	retained bool
	buffer   router.InboxConfig
}

// selected checks what a subscriber asks for. filterField names a filter in a refusal.
func (c *Config) selected(s selection, filterField func(i int) string) (selection, error) {
	switch n := len(s.filters); {
	case n == 0:
		return s, invalid(filterField(0), "is missing")
	case n > c.MaxFilters:
		return s, invalid(filterField(c.MaxFilters), "is one too many: the limit is %d", c.MaxFilters)
	}
	for i, f := range s.filters {
		if err := topic.ValidateFilter(f, c.Topics); err != nil {
			return s, misnamed(fmt.Sprintf("%s %.100q", filterField(i), f), err)
		}
	}
	if s.buffer.Messages > c.MaxInbox.Messages {
		return s, invalid("buffer_messages", "is %d: the limit is %d", s.buffer.Messages, c.MaxInbox.Messages)
	}
	if s.buffer.Bytes > c.MaxInbox.Bytes {
		return s, invalid("buffer_bytes", "is %d: the limit is %d", s.buffer.Bytes, c.MaxInbox.Bytes)
	}
	s.filters = slices.Clone(s.filters)
	slices.Sort(s.filters)
	s.filters = slices.Compact(s.filters)
	return s, nil
}

// subscription is one open stream of messages. One goroutine uses it.
type subscription struct {
	api    *API
	inbox  *router.Inbox
	qos    message.QoS
	ctx    context.Context
	cancel context.CancelCauseFunc
	room   []*message.Message // what the inbox gave last
	batch  []*message.Message // of that, what next returned last
	rest   []*message.Message // of that, what next has not returned yet
	missed uint64             // what the inbox dropped and next has not told yet
}

// subscribe opens a subscription that lasts as long as ctx and the API at the most.
func (a *API) subscribe(ctx context.Context, s selection) (*subscription, error) {
	if a.subscribers.Add(1) > int64(a.config.MaxSubscribers) {
		a.subscribers.Add(-1)
		return nil, exhausted("%d subscriptions are open: the limit is reached", a.config.MaxSubscribers)
	}
	s.buffer.Messages = cmp.Or(s.buffer.Messages, a.config.Inbox.Messages)
	s.buffer.Bytes = cmp.Or(s.buffer.Bytes, a.config.Inbox.Bytes)
	inbox := a.node.Router.OpenInbox(s.buffer, s.filters, s.qos, s.retained)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.ended, func() { cancel(errEnded) })
	if a.node.Roles != nil {
		go watch(ctx, cancel, callerOf(ctx), a.config.Heartbeat)
	}
	context.AfterFunc(ctx, func() { stop() })
	return &subscription{api: a, inbox: inbox, qos: s.qos, ctx: ctx, cancel: cancel}, nil
}

// watch ends a subscription whose token is no longer good. It looks again and again until ctx ends.
func watch(ctx context.Context, cancel context.CancelCauseFunc, who *caller, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := who.still(); err != nil {
				cancel(err)
				return
			}
		}
	}
}

// close ends the subscription. Messages that it holds are lost to its subscriber, but those
// of a share go to another, and with them those that could not be sent.
func (s *subscription) close() {
	s.inbox.Close(slices.Concat(s.batch, s.rest))
	s.cancel(nil)
	s.api.subscribers.Add(-1)
}

// next waits for messages and returns as many as one batch holds, valid until the next
// call, without those whose time is over. missed is how many the inbox dropped since it
// was last told. Who calls again has sent the last batch. After the API's Close it returns what
// is there before an error.
func (s *subscription) next(ctx context.Context) (batch []*message.Message, missed uint64, err error) {
	s.batch = nil
	for len(s.rest) == 0 {
		if err := s.take(ctx); err != nil {
			return nil, 0, err
		}
	}
	n := s.api.config.cut(s.rest)
	s.batch, s.rest = s.rest[:n], s.rest[n:]
	missed, s.missed = s.missed, 0
	return s.batch, missed, nil
}

// take has the inbox fill rest.
func (s *subscription) take(ctx context.Context) error {
	taken, missed, err := s.inbox.Take(ctx, s.room)
	if err != nil && s.flushes() {
		taken, missed, err = s.inbox.Take(context.WithoutCancel(ctx), s.room)
	}
	if err != nil {
		return err
	}
	s.room = taken
	s.missed += missed
	now := time.Now()
	s.rest = slices.DeleteFunc(taken, func(m *message.Message) bool { return m.Expired(now) })
	s.api.node.Router.Drops.Add(router.Expired, len(taken)-len(s.rest))
	return nil
}

// flushes tells whether the stream ends because the node shuts down, and the inbox has what
// publishers were told is safe: it is sent first.
func (s *subscription) flushes() bool {
	return errors.Is(context.Cause(s.ctx), errEnded) && s.inbox.State() == router.Busy
}

// ending says why the stream ends that met err.
func (s *subscription) ending(err error) error {
	if s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	}
	return coded(err)
}

// cut returns how many of the messages fit in one batch: at least one.
func (c *Config) cut(messages []*message.Message) int {
	bytes := 0
	for i, m := range messages[:min(len(messages), c.Batch.Messages)] {
		bytes += m.Size()
		if bytes > c.Batch.Bytes && i > 0 {
			return i
		}
	}
	return min(len(messages), c.Batch.Messages)
}
