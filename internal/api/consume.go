package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/stream"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// consumption is an open reader of a stream. One goroutine uses it.
type consumption struct {
	api    *API
	stream *stream.Stream
	reader *stream.Reader
	ctx    context.Context
	cancel context.CancelCauseFunc
	room   []stream.Entry // what the reader returned last
}

// consume opens a reader that lasts until ctx ends, the API closes, or a newer reader of the same consumer comes. A consumer with a name
// changes the stream: it has one of its places, and holds up one that refuses when it is full.
func (a *API) consume(ctx context.Context, s *stream.Stream, consumer string, from stream.Start) (*consumption, error) {
	if consumer != "" {
		if err := callerOf(ctx).raise(auth.Operate); err != nil {
			return nil, err
		}
	}
	if a.readers.Add(1) > int64(a.config.MaxReaders) {
		a.readers.Add(-1)
		return nil, exhausted("%d backends read streams, which is the limit", a.config.MaxReaders)
	}
	reader, err := s.Open(consumer, from)
	if err != nil {
		a.readers.Add(-1)
		return nil, coded(err)
	}
	ctx, cancel := a.lasting(ctx)
	return &consumption{api: a, stream: s, reader: reader, ctx: ctx, cancel: cancel}, nil
}

func (c *consumption) close() {
	c.reader.Close()
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
	batch, missed, err = c.reader.Take(ctx, most.Messages, most.Bytes, c.room)
	if err != nil {
		return nil, 0, ofDisk(err)
	}
	c.room = batch
	return batch, missed, nil
}

// Consume implements GatewayHandler.
func (a *API) Consume(ctx context.Context, r *connect.Request[longlinev1.ConsumeRequest], out *connect.ServerStream[longlinev1.ConsumeResponse]) error {
	s, err := a.stream(r.Msg.Stream)
	if err != nil {
		return err
	}
	end := s.End()
	from, err := parseAfter("after", r.Msg.After, end)
	if err != nil {
		return err
	}
	c, err := a.consume(ctx, s, r.Msg.Consumer, from)
	if err != nil {
		return err
	}
	defer c.close()
	b := entries{text: r.Msg.Text}
	for {
		at := c.reader.Place()
		b.response.Place, b.response.Behind = place(at-1), max(s.End(), at)-at
		if err := out.Send(&b.response); err != nil {
			return ending(c.ctx, err)
		}
		if r.Msg.ToEnd && at >= end {
			return nil
		}
		batch, missed, err := c.next(c.ctx)
		if err != nil {
			return ending(c.ctx, err)
		}
		b.fill(batch, missed)
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
func (b *entries) fill(batch []stream.Entry, missed uint64) {
	for len(b.slots) < len(batch) {
		s := new(entrySlot)
		s.entry.Message = &s.message
		b.slots = append(b.slots, s)
	}
	list := b.response.Entries[:0]
	for i := range batch {
		s := b.slots[i]
		s.put(batch[i].Message, uint32(batch[i].Message.QoS), b.text)
		s.entry.Place = place(batch[i].Place)
		list = append(list, &s.entry)
	}
	b.response.Entries, b.response.Missed = list, missed
}
