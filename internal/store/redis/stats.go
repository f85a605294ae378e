package redis

import "sync/atomic"

// counts are what Stats tells.
type counts struct {
	claims, claimsFailed, claimsAgain                   atomic.Uint64
	batches, writes, commands, refused, failed          atomic.Uint64
	redirected, notRedirected, lost, recoveries, spoilt atomic.Uint64
}

// Stats are counters since Open, and what is there now.
type Stats struct {
	Owned  int    // devices whose owner the node is
	Unsafe uint64 // operations that Redis does not have yet

	Claims, ClaimsFailed uint64
	ClaimsAgain          uint64 // that Redis had lost
	Batches, Writes      uint64 // a write is of one device
	Commands             uint64 // that made the writes
	Refused              uint64 // writes to devices that other nodes have
	Failed               uint64 // batches that had to be sent again
	Lost                 uint64 // devices that other nodes have claimed
	Redirected           uint64 // messages for such devices
	NotRedirected        uint64 // of them, those that nobody took: their publishers were refused
	Spoilt               uint64 // records, messages and keys in Redis that are not what they should be
	Recoveries           uint64 // how often what Redis may have lost was written again
	Forgotten            int    // claims and batches that could not be written again, because there were too many
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	w := s.writer
	appended, applied := w.Progress()
	w.mu.Lock()
	owned := len(w.owned)
	w.mu.Unlock()
	c := &w.counts
	return Stats{
		Owned: owned, Unsafe: appended - applied,
		Claims: c.claims.Load(), ClaimsFailed: c.claimsFailed.Load(), ClaimsAgain: c.claimsAgain.Load(),
		Batches: c.batches.Load(), Writes: c.writes.Load(), Commands: c.commands.Load(), Refused: c.refused.Load(), Failed: c.failed.Load(),
		Lost: c.lost.Load(), Redirected: c.redirected.Load(), NotRedirected: c.notRedirected.Load(),
		Spoilt: c.spoilt.Load() + s.shared.spoilt.Load(), Recoveries: c.recoveries.Load(), Forgotten: w.recent.lost(),
	}
}
