package pump

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/longline/longline/internal/limit"
)

// runLane is the goroutine of a lane: it sends what is in it, batch by batch, until the pump ends.
func (p *Pump) runLane(n int) {
	var records []*Record // reused
	failures := 0         // in a row
	for {
		batch, upTo := p.gather(n)
		if batch == nil {
			return
		}
		records = records[:0]
		for _, it := range batch {
			records = append(records, &it.Record)
		}
		done, err := p.send(batch, records, upTo)
		clear(records)
		if done > 0 || !isLater(err) {
			failures = 0
		}
		recovered := p.settle(n, len(batch), done, err)
		if isLater(err) {
			failures++
			p.rest(failures, err, recovered)
		}
	}
}

// gather waits for the next batch of a lane; nil at the end. upTo is for Transactional.SendUpTo.
func (p *Pump) gather(n int) (batch []*item, upTo uint64) {
	for {
		p.mu.Lock()
		batch, wait := p.flow.next(n, time.Now())
		over := p.flow.over(n)
		if len(batch) > 0 && p.exact != nil {
			upTo = p.flow.upTo()
		}
		p.mu.Unlock()
		if over || p.life.Err() != nil {
			return nil, 0
		}
		if len(batch) > 0 {
			return batch, upTo
		}
		p.await(n, wait)
	}
}

// await waits until lane n should look again: after wait, unless it is 0, at the latest.
func (p *Pump) await(n int, wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-p.wake[n]:
	case <-due:
	case <-p.life.Done():
	}
}

// send sends a batch. done and err are as those of Target.Send.
func (p *Pump) send(batch []*item, records []*Record, upTo uint64) (done int, err error) {
	begun := time.Now()
	err = p.breaker.Do(func() (err error) {
		if p.exact != nil && batch[0].feed == p.live {
			done, err = p.sendUpTo(records, upTo)
			return err
		}
		done, err = p.sink.Target.Send(p.life, records)
		return err
	})
	if done < 0 || done > len(records) || err == nil && done < len(records) || err != nil && done == len(records) {
		err = fmt.Errorf("the target says that %d of %d records are confirmed, with the error %w", done, len(records), errors.Join(err))
		done = max(min(done, len(records)-1), 0)
	}
	p.mu.Lock()
	p.stats.Batches++
	p.stats.SendTime += time.Since(begun)
	p.mu.Unlock()
	return done, err
}

// sendUpTo sends a batch in a transaction with the place. After an error nobody knows whether the transaction was made: so it asks the other side
// first which place it has. Only the goroutine of the one lane calls it.
func (p *Pump) sendUpTo(records []*Record, upTo uint64) (done int, err error) {
	if p.unsure {
		place, known, err := p.exact.Place(p.life)
		if err != nil {
			return 0, err
		}
		for known && done < len(records) && records[done].Place < place {
			done++
		}
		if done == len(records) {
			p.unsure = false
			return done, nil
		}
	}
	err = p.exact.SendUpTo(p.life, records[done:], upTo)
	if p.unsure = err != nil; err != nil {
		return done, err
	}
	return len(records), nil
}

// settle notes what became of a batch. It returns a channel that is closed when pauses should end.
func (p *Pump) settle(n, records, done int, err error) (recovered <-chan struct{}) {
	var dead *item
	var wasFailing error
	p.mu.Lock()
	f := &p.flow
	for _, it := range f.lanes[n].line[:done] {
		p.stats.Bytes += uint64(it.size)
	}
	f.confirm(n, done)
	p.stats.Sent += uint64(done)
	switch {
	case IsRefused(err):
		dead = f.bury(n, refusedAt(err, records-done))
	case isLater(err):
		p.stats.Failures++
	}
	f.back(n, err != nil && !IsRefused(err))
	if wasFailing = p.failing; isLater(err) {
		p.fail(err)
	} else if wasFailing != nil {
		p.failing = nil
		p.retryNow()
	}
	recovered = p.recovered
	p.notice()
	p.mu.Unlock()
	p.tellDone()
	switch {
	case dead != nil:
		p.letter(dead, err)
	case IsMisconfigured(err):
		p.stop(err)
	case isLater(err) && wasFailing == nil && p.life.Err() == nil:
		p.tell(slog.LevelWarn, "the sink cannot deliver, and tries again", "error", err)
	case err == nil && wasFailing != nil:
		p.tell(slog.LevelInfo, "the sink delivers again")
	}
	return recovered
}

// fail notes a failure. mu is held.
func (p *Pump) fail(err error) {
	if limit.IsOpen(err) {
		return
	}
	if p.failing == nil {
		p.since = time.Now()
	}
	p.failing = err
}

// notice tells the readers and the saver that places may have moved. mu is held.
func (p *Pump) notice() {
	signal(p.live.room)
	signal(p.moved)
	if p.replay != nil {
		signal(p.replay.feed.room)
	}
}

// tellDone tells Sink.Done the place, if it has moved. No lock is held.
func (p *Pump) tellDone() {
	if p.sink.Done == nil {
		return
	}
	p.mu.Lock()
	place := p.live.places.low
	news := place > p.told
	p.told = max(p.told, place)
	p.mu.Unlock()
	if news {
		p.sink.Done(place)
	}
}

// longestPause bounds the pause for which the other side asks.
const longestPause = 5 * time.Minute

// rest pauses after a failure, the last of so many in a row: for a random time, or for that of the other side.
func (p *Pump) rest(failures int, err error, recovered <-chan struct{}) {
	pause := p.sink.Config.Retry.pause(failures, rand.Float64()) //nolint:gosec // spreads attempts
	var later *laterError
	if errors.As(err, &later) {
		pause, recovered = max(pause, min(later.pause, longestPause)), nil
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-recovered:
	case <-p.reading.Done(): // the pump closes
	}
}

// pause returns the pause after that many failures in a row; random is from 0 to 1.
func (r Retry) pause(failures int, random float64) time.Duration {
	most := r.First
	for i := 1; i < failures && most < r.Most; i++ {
		most *= 2
	}
	return time.Duration(float64(min(most, r.Most)) * random)
}
