package webhook

import (
	"sync"
	"time"

	"github.com/longline/longline/internal/sink/pump"
)

// doubts knows which records the receiver has answered as if the URL or the credentials were wrong. That may hold for a moment, while a receiver is
// replaced or a secret changes on one side first; or it is true; or it is about these messages, such as behind a firewall that reads them.
// Its methods are safe from any goroutine.
type doubts struct {
	mu    sync.Mutex
	since map[*pump.Record]time.Time // of records that the pump still has
	well  time.Time                  // when the receiver last gave another answer
}

// doubtFor is how long nothing follows from such answers.
const doubtFor = time.Minute

// wrong notes such an answer, and returns what follows: failed at first; after a minute refused if it has taken others meanwhile, and wrong if not.
func (d *doubts) wrong(records []*pump.Record, now time.Time) meaning {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since == nil {
		d.since = make(map[*pump.Record]time.Time)
	}
	var latest time.Time
	for _, r := range records {
		first, known := d.since[r]
		if !known {
			first = now
			d.since[r] = now
		}
		if first.After(latest) {
			latest = first
		}
	}
	switch {
	case now.Sub(latest) < doubtFor:
		return failed
	case d.well.After(latest):
		if len(records) == 1 { // the pump will not send it again
			delete(d.since, records[0])
		}
		return refused
	}
	clear(d.since) // who resumes the sink has another minute
	return wrong
}

// answered notes an answer that shows that the URL and the credentials are good.
func (d *doubts) answered(records []*pump.Record, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.well = now
	for _, r := range records {
		delete(d.since, r)
	}
}

// reset forgets the answers: the receiver was away.
func (d *doubts) reset() {
	d.mu.Lock()
	clear(d.since)
	d.mu.Unlock()
}
