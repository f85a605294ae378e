package bridge

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Tally counts messages that are left out for one reason, and logs from time to time how many. Its methods are safe from any goroutine.
type Tally struct {
	log   *slog.Logger
	level slog.Level
	text  string
	n     atomic.Uint64
	told  atomic.Int64 // when it was logged, in Unix seconds
}

// NewTally returns a tally that logs this text.
func NewTally(log *slog.Logger, level slog.Level, text string) *Tally {
	return &Tally{log: log, level: level, text: text}
}

// tellEvery is how often a tally logs, at most.
const tellEvery = 60 // seconds

// Add counts one.
func (t *Tally) Add() {
	n, now := t.n.Add(1), time.Now().Unix()
	if last := t.told.Load(); now-last >= tellEvery && t.told.CompareAndSwap(last, now) {
		t.log.Log(context.Background(), t.level, t.text, "so far", n)
	}
}

// N returns how many there were.
func (t *Tally) N() uint64 { return t.n.Load() }
