package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// action is what happens to the gateway.
type action uint8

const (
	kill action = iota // SIGKILL, and a new start at once
	stop               // SIGTERM, and a new start
	fill               // the disk is full
	free               // and is not any more
)

// step is an action at a time after the start of the run.
type step struct {
	at   time.Duration
	do   action
	also []time.Duration // kill and stop: the new process is killed as well, this long after it was started, and so on
}

// schedule returns the steps of a run. They follow from the seed alone.
func schedule(seed uint64, duration time.Duration, fills bool) []step {
	r := rand.New(rand.NewPCG(seed, 0))
	between := func(from, to time.Duration) time.Duration { return from + time.Duration(r.Int64N(int64(to-from))) }
	var steps []step
	for at := between(time.Second, 4*time.Second); at < duration; at += between(time.Second, 9*time.Second) {
		s := step{at: at, do: kill}
		if r.IntN(12) == 0 {
			s.do = stop
		}
		for r.IntN(5) == 0 {
			s.also = append(s.also, between(0, 400*time.Millisecond))
		}
		steps = append(steps, s)
	}
	for at := between(5*time.Second, 15*time.Second); fills && at < duration; at += between(10*time.Second, 40*time.Second) {
		end := at + between(3*time.Second, 9*time.Second)
		if r.IntN(3) > 0 { // the gateway lives on; it may not start on a full disk
			steps = slices.DeleteFunc(steps, func(s step) bool { return s.do <= stop && s.at > at && s.at < end })
		}
		steps = append(steps, step{at: at, do: fill}, step{at: end, do: free})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	return steps
}
