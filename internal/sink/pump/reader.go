package pump

import (
	"context"
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/stream"
)

// What a feed reads at once.
const (
	chunkMessages = 256
	chunkBytes    = 256 << 10
)

// reopenAfter is the pause before the stream is opened again.
const reopenAfter = time.Second

// readStream is the goroutine that reads the stream as it comes.
func (p *Pump) readStream() {
	for {
		r, err := p.open()
		if err == nil {
			p.startAt(r.Place())
			err = p.read(p.reading, p.live, r)
			r.Close()
		}
		if p.reading.Err() != nil {
			return
		}
		p.mu.Lock()
		p.unread, p.since = err, time.Now()
		p.mu.Unlock()
		p.tell(slog.LevelWarn, "the sink cannot read its stream, and tries again", "error", err)
		if !sleep(p.reading, reopenAfter) {
			return
		}
	}
}

// startAt notes that reading begins, and where.
func (p *Pump) startAt(place uint64) {
	p.mu.Lock()
	p.unread = nil
	if at := &p.live.places; len(at.line) == 0 {
		at.low = max(at.low, place)
	}
	p.notice()
	p.mu.Unlock()
	p.tellDone()
}

// open returns a reader of the stream that begins behind all that was read.
func (p *Pump) open() (*stream.Reader, error) {
	p.mu.Lock()
	low, next := p.live.places.low, p.live.places.next()
	p.mu.Unlock()
	start := stream.First
	switch {
	case low > 0: // if the consumer was deleted meanwhile, the new one begins where the old one would be
		start = stream.After(low - 1)
	case p.sink.Config.From == Newest:
		start = stream.Latest
	}
	r, err := p.sink.Stream.Open(Consumer(p.sink.Name), start)
	if err != nil {
		return nil, err
	}
	if next == 0 && p.exact != nil {
		next, err = p.placeThere(r.Place())
	}
	if err == nil && (next == 0 || next == r.Place() && p.exact == nil) {
		return r, nil
	}
	// With the consumer's name it would begin at the consumer's place, which somebody else may have moved.
	r.Close()
	if err != nil {
		return nil, err
	}
	return p.sink.Stream.Open("", stream.After(next-1))
}

// placeThere returns where to begin to read for a target that keeps the place itself. here is the place of the stream's consumer.
func (p *Pump) placeThere(here uint64) (uint64, error) {
	for failures := 1; ; failures++ {
		place, known, err := p.exact.Place(p.reading)
		if err == nil && known && place > p.sink.Stream.End() {
			p.log.Error("the other side has a place that the stream has not: the stream's files are new, or an older copy. The sink goes on at its consumer's place",
				"place there", place, "place here", here)
			place, err = here, p.exact.SendUpTo(p.reading, nil, here)
		}
		switch {
		case p.reading.Err() != nil:
			return 0, p.reading.Err()
		case err == nil && known:
			return place, nil
		case err == nil:
			return here, nil
		case isLater(err):
			p.mu.Lock()
			p.fail(err)
			recovered := p.recovered
			p.mu.Unlock()
			p.rest(failures, err, recovered)
		default:
			p.stop(err)
			p.whileStopped()
		}
	}
}

// whileStopped returns when the sink is resumed, or closes.
func (p *Pump) whileStopped() {
	for {
		p.mu.Lock()
		stopped, changed := p.flow.stopped != nil, p.recovered
		p.mu.Unlock()
		if !stopped {
			return
		}
		select {
		case <-changed:
		case <-p.reading.Done():
			return
		}
	}
}

// read gives the lanes what r reads, until the end of the feed, if it has one.
func (p *Pump) read(ctx context.Context, f *feed, r *stream.Reader) error {
	var entries []stream.Entry
	var chunk []arrival
	prepare := preparer{pump: p, view: &route.View{Node: p.sink.Node}}
	if p.sink.Model != nil {
		prepare.model = p.sink.Model()
		defer prepare.model.Close()
	}
	for f.end == 0 || r.Place() < f.end {
		messages, bytes, ok := p.awaitRoom(ctx, f)
		if !ok {
			return ctx.Err()
		}
		var missed uint64
		var err error
		entries, missed, err = r.Take(ctx, min(messages, chunkMessages), min(bytes, chunkBytes), entries)
		if err != nil {
			return err
		}
		within, ended := f.within(entries)
		if chunk, err = prepare.all(ctx, f, within, chunk[:0]); err != nil {
			return err
		}
		p.dispatch(f, chunk, missed)
		if ended {
			return nil
		}
		clear(entries)
		clear(chunk)
	}
	return nil
}

// awaitRoom waits until more may be read for a feed, and returns how much; false when ctx has ended.
func (p *Pump) awaitRoom(ctx context.Context, f *feed) (messages, bytes int, ok bool) {
	for ctx.Err() == nil {
		p.mu.Lock()
		messages, bytes = p.flow.room(f)
		p.mu.Unlock()
		if messages > 0 {
			return messages, bytes, true
		}
		select {
		case <-f.room:
		case <-ctx.Done():
		}
	}
	return 0, 0, false
}

// dispatch gives what was read to the lanes.
func (p *Pump) dispatch(f *feed, chunk []arrival, missed uint64) {
	now := time.Now()
	var dead []arrival
	p.mu.Lock()
	if f == p.live {
		p.stats.Missed += missed
	}
	for _, a := range chunk {
		it := a.item
		if it != nil {
			it.feed, it.size, it.since = f, a.size, now
		}
		switch {
		case it == nil:
			if f == p.live {
				p.stats.Filtered++
			}
			p.flow.pass(f, a.place, a.size)
		case a.err != nil:
			p.flow.misfit(it, a.place)
			dead = append(dead, a)
		default:
			n := p.laneOf(it.Key)
			p.flow.push(n, it, a.place)
			signal(p.wake[n])
		}
	}
	p.notice()
	p.mu.Unlock()
	p.tellDone()
	for _, a := range dead {
		p.letter(a.item, a.err)
	}
}

// laneOf returns the lane of a key.
func (p *Pump) laneOf(key string) int {
	return int(maphash.String(p.seed, key) % uint64(len(p.wake))) //nolint:gosec // below the number of lanes
}

// sleep waits, and reports whether ctx has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
