package disk

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/store"
)

// room watches how much of the disk a store uses. It refuses messages before the journal and the state run out of space: what makes
// room, acknowledgements and the ends of sessions, needs space as well.
type room struct {
	bounds store.Options // static

	state atomic.Int64          // bytes of the state's files
	free  atomic.Int64          // bytes of the file system
	full  atomic.Pointer[error] // why no message is taken that would have to be kept; nil if some are
}

// roomEvery is the time between two looks.
const roomEvery = time.Second

func (r *room) err() error {
	if err := r.full.Load(); err != nil {
		return *err
	}
	return nil
}

// look takes what is used now and free on the disk, and reports whether full has changed. Once it is full, a thirty-second part of the bound must
// be free again.
func (r *room) look(used, free int64) (changed bool) {
	most, reserve := int64(r.bounds.MaxBytes), int64(r.bounds.Reserve)
	had := r.full.Load() != nil
	refuse := most - most/8
	if had {
		refuse -= most / 32
		reserve += reserve / 32
	}
	var err error
	switch {
	case most > 0 && used > refuse:
		err = fmt.Errorf("%w: the store has %d MiB of store.max_bytes, %d MiB; the last eighth is for what makes room",
			store.ErrNoRoom, used>>20, most>>20)
	case free < reserve:
		err = fmt.Errorf("%w: the file system of store.path has %d MiB free, and store.reserve is %d MiB", store.ErrNoRoom, free>>20, int64(r.bounds.Reserve)>>20)
	}
	if err == nil {
		r.full.Store(nil)
	} else {
		r.full.Store(&err)
	}
	return had != (err != nil)
}

// watchRoom looks at the room every second, until ctx ends.
func (s *Store) watchRoom(ctx context.Context) {
	ticker := time.NewTicker(roomEvery)
	defer ticker.Stop()
	for {
		s.lookAtRoom()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) lookAtRoom() {
	s.room.state.Store(int64(s.state.size()))
	free, err := s.options.journalFS.Free()
	if err != nil {
		return // the journal tells if the disk fails
	}
	s.room.free.Store(free)
	if !s.room.look(s.room.state.Load()+s.journal.Stats().Size, free) {
		return
	}
	if err := s.room.err(); err != nil {
		s.options.Log.Error("the store takes no more messages", "error", err)
	} else {
		s.options.Log.Info("the store takes messages again: there is room")
	}
}

// slowSync is how long a sync may take before the node is not ready.
const slowSync = 5 * time.Second

// Err implements store.Store.
func (s *Store) Err() error {
	if err := s.Memory.Err(); err != nil {
		return err
	}
	return s.room.err()
}

// Ready returns why the node should get no new devices: Err, or that they would have to wait for the disk.
func (s *Store) Ready() error {
	if err := s.Err(); err != nil {
		return err
	}
	if took := s.journal.Stats().Syncing; took > slowSync {
		return fmt.Errorf("the disk is slow: a sync has taken %v so far, and publishers wait for it", took.Round(time.Second))
	}
	return nil
}
