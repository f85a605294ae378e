package journal

import (
	"errors"
	"io"
	"time"
)

// directory is one of a journal's directories. Each has a preparer of its own, so that one that is slow does not hold up the other.
type directory struct {
	// Static after construction.
	j      *Journal
	fs     FS
	lock   io.Closer
	leaves bool // it gets no more segments

	// Guarded by the journal's mu.
	spare    *segment   // prepared for the committer
	spareErr error      // why preparing the spare failed
	spoiled  []*segment // without a group that counts: to be removed
	bytes    int64      // of all files except those that were set aside
	reusing  bool       // a trimmed file is being made a spare
	sick     bool       // it was slow or failed, and is avoided while the other one is well
	late     int        // writes under way that take longer than Options.Stall, or that nobody waits for any more

	// Signals, as those of Journal.
	prepare  chan struct{} // to the preparer: the spare was taken, the journal fails, or the directory is sick
	freed    chan struct{} // to the preparer: segments were trimmed
	urgent   chan struct{} // to the preparer: the committer waits for a spare
	prepared chan struct{} // closed when the preparer has ended
}

func newDirectory(j *Journal, fs FS) *directory {
	return &directory{
		j: j, fs: fs,
		prepare: make(chan struct{}, 1), freed: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		prepared: make(chan struct{}),
	}
}

// errStalled is the fault that is reported when a directory is slow.
var errStalled = errors.New("it takes too long")

// avoid makes a journal that has another directory use that one, until the preparer finds this one well. mu is held.
func (d *directory) avoid() {
	if len(d.j.dirs) > 1 {
		d.sick = true
		signal(d.prepare)
	}
}

// probeAfter times Options.Stall is how long a directory must rest before it is tried again.
const probeAfter = 20

// probe finds out whether a sick directory is well: whether it takes a spare, or a write to it, in time.
func (d *directory) probe() {
	timer := time.NewTimer(probeAfter * d.j.options.Stall)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-d.j.committed:
		return
	}
	d.j.mu.Lock()
	s, late := d.spare, d.late
	d.spare = nil // the committer waits, or does without it
	d.j.mu.Unlock()
	begun := time.Now()
	var err error
	if late == 0 && s != nil {
		err = d.writeFrame(s)
	}
	took := time.Since(begun)
	d.j.mu.Lock()
	if err != nil {
		d.j.stats.Faults++
		d.spoiled = append(d.spoiled, s)
	} else {
		d.spare = s
	}
	d.sick = late > 0 || err != nil || s == nil || took > d.j.options.Stall
	d.j.mu.Unlock()
	signal(d.j.spared)
	if err != nil {
		d.j.options.OnFault(err)
	}
}
