package pump

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/stream"
)

// Model asks a model about the messages of one feed, one behind the other. One goroutine calls it.
type Model interface {
	// Infer sets what the model says into messages, which are in order. It returns within a bounded time, and an error only if ctx ends, or if there is
	// no model any more: without an answer a message stays as it is, and says so in its properties.
	Infer(ctx context.Context, views []*route.View) error
	// Close ends what the model remembers of these messages.
	Close()
}

// arrival is an entry that was read, and what becomes of it: a record, or a letter to the dead, or nothing.
type arrival struct {
	place uint64
	size  int
	item  *item // nil if the entry is not for the sink
	err   error // why it goes to the dead letters
}

// recordOverhead is about what a record takes beside its message and value.
const recordOverhead = 512

// preparer makes records of the entries of one feed: first the route, then the model, if there is one, and then the target.
type preparer struct {
	pump  *Pump
	view  *route.View // of one message after the other, if there is no model
	model Model       // nil if there is none
}

// all appends what becomes of entries to chunk.
func (r *preparer) all(ctx context.Context, f *feed, entries []stream.Entry, chunk []arrival) ([]arrival, error) {
	if r.model != nil {
		return r.asked(ctx, f, entries, chunk)
	}
	for _, e := range entries {
		a, ok := r.route(ctx, r.view, f, e)
		if !ok || !r.record(ctx, r.view, &a) {
			return nil, ctx.Err()
		}
		chunk = append(chunk, a)
	}
	return chunk, nil
}

// asked is all with a model, which is asked about the entries together. Their views are not used again: what a large payload makes of one goes with it.
func (r *preparer) asked(ctx context.Context, f *feed, entries []stream.Entry, chunk []arrival) ([]arrival, error) {
	views := make([]*route.View, len(entries))
	var ask []*route.View
	for i, e := range entries {
		views[i] = &route.View{Node: r.pump.sink.Node}
		a, ok := r.route(ctx, views[i], f, e)
		if !ok {
			return nil, ctx.Err()
		}
		if a.item != nil && a.err == nil {
			ask = append(ask, views[i])
		}
		chunk = append(chunk, a)
	}
	if err := r.model.Infer(ctx, ask); err != nil {
		return nil, err
	}
	for i := range chunk {
		if !r.record(ctx, views[i], &chunk[i]) {
			return nil, ctx.Err()
		}
	}
	return chunk, nil
}

// route applies the sink's route to an entry, which v views from then on; false if ctx ends meanwhile.
func (r *preparer) route(ctx context.Context, v *route.View, f *feed, e stream.Entry) (a arrival, ok bool) {
	p := r.pump
	a = arrival{place: e.Place, size: e.Message.Size() + recordOverhead}
	o := original{e, p.sink.Stream.Name()}
	if f.of != nil {
		var mine bool
		if o, mine = f.of(e); !mine {
			return a, true
		}
	}
	m := o.Message
	var keep bool
	ok, a.err = p.untilThere(ctx, func() (err error) {
		v.Reset(m)
		v.Stream, v.Place = o.stream, o.Place
		keep, err = p.sink.Route.Apply(v)
		return err
	})
	if keep || a.err != nil {
		a.item = &item{Record: Record{Place: o.Place, Time: o.Time, Message: m, Key: cmp.Or(m.Source, m.Topic)}, stream: o.stream}
	}
	return a, ok
}

// record makes the record of an entry, if it is for the sink; false if ctx ends meanwhile.
func (r *preparer) record(ctx context.Context, v *route.View, a *arrival) (ok bool) {
	it := a.item
	if it == nil || a.err != nil {
		return true
	}
	ok, a.err = r.pump.untilThere(ctx, func() error { return r.pump.sink.Target.Prepare(v, &it.Record) })
	if errors.Is(a.err, ErrLeftOut) {
		a.item, a.err = nil, nil
		return ok
	}
	if m := it.Message; len(it.Value) > 0 && len(m.Payload) > 0 && &it.Value[0] != &m.Payload[0] {
		a.size += len(it.Value)
	}
	return ok
}

// untilThere calls try, and again after a pause while what that needs is away; false if ctx ends meanwhile.
func (p *Pump) untilThere(ctx context.Context, try func() error) (ok bool, err error) {
	for failures := 1; ; failures++ {
		if err = try(); !errors.Is(err, format.ErrAway) {
			return true, err
		}
		p.mu.Lock()
		p.fail(err)
		recovered := p.recovered
		p.mu.Unlock()
		p.tell(slog.LevelWarn, "the sink cannot prepare a message, and tries again", "error", err)
		if p.rest(failures, err, recovered); ctx.Err() != nil {
			return false, err
		}
	}
}
