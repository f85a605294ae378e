package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// selection is what a subscriber requests.
type selection struct {
	filters  []string
	qos      message.QoS
	retained bool
	buffer   router.InboxConfig
}

// selected checks what a subscriber requests. filterField names the i-th filter in errors.
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
	room   []*message.Message // what the inbox returned last
	batch  []*message.Message // the part of room that next returned last
	rest   []*message.Message // the part of room that next has not returned yet
	missed uint64             // what the inbox dropped and next has not reported yet
}

// subscribe opens a subscription that lasts until ctx ends or the API closes.
func (a *API) subscribe(ctx context.Context, s selection) (*subscription, error) {
	if a.subscribers.Add(1) > int64(a.config.MaxSubscribers) {
		a.subscribers.Add(-1)
		return nil, exhausted("%d subscriptions are open, which is the limit", a.config.MaxSubscribers)
	}
	s.buffer.Messages = cmp.Or(s.buffer.Messages, a.config.Inbox.Messages)
	s.buffer.Bytes = cmp.Or(s.buffer.Bytes, a.config.Inbox.Bytes)
	inbox := a.node.Router.OpenInbox(s.buffer, s.filters, s.qos, s.retained)
	ctx, cancel := a.lasting(ctx)
	return &subscription{api: a, inbox: inbox, qos: s.qos, ctx: ctx, cancel: cancel}, nil
}

// close ends the subscription. Its subscriber loses the messages that it holds, except for those
// of a shared subscription, which go to another member.
func (s *subscription) close() {
	s.inbox.Close(slices.Concat(s.batch, s.rest))
	s.cancel(nil)
	s.api.subscribers.Add(-1)
}

// next waits for messages and returns as many as one batch holds, valid until the next
// call, without those that have expired. missed is how many messages the inbox dropped since
// it was last reported. A call means that the last batch was sent. After the API's Close it returns
// the remaining messages before an error.
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

// take fills rest from the inbox.
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
	s.inbox.Expired(len(taken) - len(s.rest))
	return nil
}

// flushes reports whether the stream ends because the node shuts down, while the inbox still holds messages
// that publishers were told are safe: these are sent first.
func (s *subscription) flushes() bool {
	return errors.Is(context.Cause(s.ctx), errEnded) && s.inbox.State() == router.Busy
}

// cut returns how many of the messages fit into one batch: at least one.
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
