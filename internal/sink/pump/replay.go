package pump

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/longline/longline/internal/stream"
)

// Range says what to replay: the sink's dead letters, or what the stream has from one place to another, or from one time to another. The zero
// Range is all that the stream has.
type Range struct {
	Dead     bool
	From, To uint64    // To is the place behind the last; 0 means all that the stream has now
	Since    time.Time // instead of From
	Until    time.Time // an entry of this time is not in the range; zero means To
}

var (
	// ErrReplaying refuses a replay while there is another one.
	ErrReplaying = errors.New("the sink replays already")
	// ErrClosed refuses a replay of a sink that closes.
	ErrClosed = errors.New("the sink closes")
)

// replay is a replay under way.
type replay struct {
	feed   *feed
	stream *stream.Stream
	what   Range
	begun  time.Time
	from   uint64 // of stream
	stop   context.CancelFunc
}

// Replay begins to send again what the range has, beside what comes, and returns. The records of a key are in order, among those of the replay. It
// ends with the pump; Stats tells how far it is. Each dead letter is replayed once; one that is refused again becomes another letter.
func (p *Pump) Replay(what Range) error {
	r := &replay{feed: newFeed(), stream: p.sink.Stream, what: what, begun: time.Now()}
	name, from := "", stream.First
	switch {
	case what.Dead:
		name, r.stream, r.feed.of = Consumer(p.sink.Name), p.sink.Letters, p.openLetter
	case !what.Since.IsZero():
		from = stream.At(what.Since)
	case what.From > 0:
		from = stream.After(what.From - 1)
	}
	r.feed.end, r.feed.until = r.stream.End(), what.Until
	if what.To > 0 {
		r.feed.end = min(r.feed.end, what.To)
	}
	ctx, stop := context.WithCancel(p.reading)
	r.stop = stop
	if err := p.addReplay(r); err != nil {
		stop()
		return err
	}
	reader, err := r.stream.Open(name, from)
	if err != nil {
		p.endReplay(r)
		return err
	}
	p.mu.Lock()
	r.from, r.feed.places.low = reader.Place(), reader.Place()
	p.mu.Unlock()
	p.log.Info("replay", "stream", r.stream.Name(), "from", reader.Place(), "to", r.feed.end)
	go p.runReplay(ctx, r, reader)
	return nil
}

// addReplay makes r the replay of the pump.
func (p *Pump) addReplay(r *replay) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.reading.Err() != nil:
		return ErrClosed
	case p.replay != nil:
		return ErrReplaying
	}
	p.replay = r
	p.readers.Add(1)
	return nil
}

func (p *Pump) endReplay(r *replay) {
	r.stop()
	p.mu.Lock()
	p.replay = nil
	p.mu.Unlock()
	p.readers.Done()
}

// StopReplay ends the replay, if there is one. What was read for it is still sent, and until then there is no other.
func (p *Pump) StopReplay() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.replay != nil {
		p.replay.stop()
	}
}

// runReplay is the goroutine of a replay. It ends when all that was read for it is done: without that, replays that are stopped and begun again, while the
// sink is paused, would be in memory together.
func (p *Pump) runReplay(ctx context.Context, r *replay, reader *stream.Reader) {
	defer p.endReplay(r)
	err := p.read(ctx, r.feed, reader)
	reader.Close()
	for left := 1; left > 0 && p.reading.Err() == nil; {
		p.mu.Lock()
		left = r.feed.places.messages
		p.mu.Unlock()
		p.saveReplay(r)
		if left > 0 {
			select {
			case <-r.feed.room:
			case <-p.reading.Done():
			}
		}
	}
	if err = cmp.Or(err, p.reading.Err()); err != nil {
		p.log.Warn("the replay has ended early", "error", err)
		return
	}
	p.log.Info("the replay is done")
}

// saveReplay moves the sink's consumer in the dead letters to those that are not done.
func (p *Pump) saveReplay(r *replay) {
	if !r.what.Dead {
		return
	}
	p.mu.Lock()
	place := r.feed.places.low
	p.mu.Unlock()
	r.stream.Acknowledge(Consumer(p.sink.Name), place, func(err error) {
		if err != nil {
			p.tell(slog.LevelWarn, "the place in the dead letters cannot be saved: some may be replayed again", "error", err)
		}
	})
}

// openLetter returns the entry whose dead letter e is.
func (p *Pump) openLetter(e stream.Entry) (original, bool) { return openLetter(p.sink.Name, e) }
