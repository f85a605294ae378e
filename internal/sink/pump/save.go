package pump

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/longline/longline/internal/stream"
)

// savePeriod is the least time between two acknowledgements of the place.
const savePeriod = 50 * time.Millisecond

// savePlaces is the goroutine that acknowledges the sink's place in the stream, for the last time when ctx ends: then all lanes have ended.
func (p *Pump) savePlaces(ctx context.Context) {
	var saved uint64
	for sleep(ctx, savePeriod) {
		select {
		case <-p.moved:
			saved = p.save(ctx, saved)
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	p.save(last, saved)
}

// save acknowledges the sink's place, unless it is the saved one. It returns what is saved. It waits until ctx ends.
func (p *Pump) save(ctx context.Context, saved uint64) uint64 {
	p.mu.Lock()
	place := p.live.places.low
	p.mu.Unlock()
	if place <= saved {
		return saved
	}
	answer := make(chan error, 1)
	p.sink.Stream.Acknowledge(Consumer(p.sink.Name), place, func(err error) { answer <- err })
	select {
	case err := <-answer:
		if err == nil {
			return place
		}
		if !errors.Is(err, stream.ErrClosed) {
			p.tell(slog.LevelWarn, "the sink's place cannot be saved: after a kill more comes twice", "error", err)
		}
		signal(p.moved)
	case <-ctx.Done():
	}
	return saved
}
