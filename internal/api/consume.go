package api

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/stream"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// consumption is an open reader of a stream. One goroutine uses it.
type consumption struct {
	source
	api    *API
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// consume opens a reader that lasts until ctx ends, the API closes, or a newer reader of the same consumer comes. after says where it begins; field names
// that in errors. A consumer with a name changes the stream: it has one of its places, and holds up one that refuses when it is full.
func (a *API) consume(ctx context.Context, s *stream.Stream, consumer, field, after string) (*consumption, error) {
	if consumer != "" {
		if err := callerOf(ctx).raise(auth.Operate); err != nil {
			return nil, err
		}
	}
	if a.readers.Add(1) > int64(a.config.MaxReaders) {
		a.readers.Add(-1)
		return nil, exhausted("%d backends read streams, which is the limit", a.config.MaxReaders)
	}
	ctx, cancel := a.lasting(ctx)
	from, err := a.open(ctx, s, consumer, field, after)
	if err != nil {
		cancel(nil)
		a.readers.Add(-1)
		return nil, coded(err)
	}
	return &consumption{source: from, api: a, ctx: ctx, cancel: cancel}, nil
}

// open opens what a reader reads.
func (a *API) open(ctx context.Context, s *stream.Stream, consumer, field, after string) (source, error) {
	if a.node.Cluster != nil {
		from, err := parseAfterParts(field, after, time.Now())
		if err != nil {
			return nil, err
		}
		return a.openParts(ctx, s.Name(), consumer, from, after == "latest")
	}
	end := s.End()
	from, err := parseAfter(field, after, end)
	if err != nil {
		return nil, err
	}
	reader, err := s.Open(consumer, from)
	if err != nil {
		return nil, err
	}
	return &ownPart{stream: s, reader: reader, end: end}, nil
}

func (c *consumption) close() {
	c.source.close()
	c.cancel(nil)
	c.api.readers.Add(-1)
}

// readersBytes bounds the sum of all readers' batches, each of which may have leastBatch. A reader that does not read holds its batch for
// api.stall, in several copies: as messages, and encoded.
const (
	readersBytes = 16 << 20
	leastBatch   = 64 << 10
)

// next waits for entries and returns as many as one batch holds, valid until the next call. missed is how many are gone before them.
func (c *consumption) next(ctx context.Context) (batch []stream.Entry, missed uint64, err error) {
	most := c.api.config.Batch
	most.Bytes = min(most.Bytes, max(leastBatch, readersBytes/int(c.api.readers.Load())))
	batch, missed, err = c.take(ctx, most.Messages, most.Bytes)
	return batch, missed, ofDisk(err)
}

// Consume implements GatewayHandler.
func (a *API) Consume(ctx context.Context, r *connect.Request[longlinev1.ConsumeRequest], out *connect.ServerStream[longlinev1.ConsumeResponse]) error {
	s, err := a.stream(r.Msg.Stream)
	if err != nil {
		return err
	}
	c, err := a.consume(ctx, s, r.Msg.Consumer, "after", r.Msg.After)
	if err != nil {
		return err
	}
	defer c.close()
	b := entries{text: r.Msg.Text}
	for {
		b.response.Place, b.response.Behind, b.response.Away = c.at(), c.behind(), c.away()
		if err := out.Send(&b.response); err != nil {
			return ending(c.ctx, err)
		}
		if r.Msg.ToEnd && c.caughtUp() {
			return nil
		}
		batch, missed, err := c.next(c.ctx)
		if err != nil {
			return ending(c.ctx, err)
		}
		b.fill(batch, missed, c.placeOf)
	}
}

// entries is the response of a consumer. Every send reuses its memory, because sending has ended when Send returns.
type entries struct {
	text bool // show payloads that are UTF-8 as text; static after construction

	response longlinev1.ConsumeResponse
	slots    []*entrySlot
}

// entrySlot holds the memory for one entry.
type entrySlot struct {
	entry longlinev1.Entry
	slot
}

// fill makes the response from a batch; it keeps views of it until the next call.
func (b *entries) fill(batch []stream.Entry, missed uint64, placeOf func(uint64) string) {
	for len(b.slots) < len(batch) {
		s := new(entrySlot)
		s.entry.Message = &s.message
		b.slots = append(b.slots, s)
	}
	list := b.response.Entries[:0]
	for i := range batch {
		s := b.slots[i]
		s.put(batch[i].Message, uint32(batch[i].Message.QoS), b.text)
		s.entry.Place = placeOf(batch[i].Place)
		list = append(list, &s.entry)
	}
	b.response.Entries, b.response.Missed = list, missed
}
