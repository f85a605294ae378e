package claim

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
)

// explore walks all states of a scenario and returns the steps to the first one that is wrong.
func explore(s scenario, broken rules, limit int) (states int, failure string) {
	seed := maphash.MakeSeed()
	seen := make(map[uint64]struct{})
	var path []string
	var visit func(w world) string
	visit = func(w world) string {
		h := maphash.Comparable(seed, w) // 3 million states have the same one in 1 of 4 million walks
		if _, ok := seen[h]; ok {
			return ""
		}
		seen[h] = struct{}{}
		if len(seen) > limit {
			return "too many states"
		}
		if wrong := s.always(&w); wrong != "" {
			return wrong
		}
		ended := true
		failure := ""
		k := walk{scenario: s, broken: broken}
		k.emit = func(name string, next world) {
			if ended = false; failure != "" {
				return
			}
			path = append(path, name)
			if failure = visit(next); failure == "" {
				path = path[:len(path)-1]
			}
		}
		k.steps(&w)
		if k.three && failure == "" {
			return "three sessions of a node have moved on"
		}
		if failure == "" && ended {
			return s.atEnd(&w)
		}
		return failure
	}
	if failure = visit(s.start()); failure != "" {
		failure += "\n  " + strings.Join(path, "\n  ")
	}
	return len(seen), failure
}

// always returns what is wrong in a state, whatever comes next.
func (s *scenario) always(w *world) string {
	if w.full {
		return "something goes round for ever"
	}
	for i := range w.nodes {
		for j := range i {
			if a, b := &w.nodes[i], &w.nodes[j]; a.role == live && b.role == live && a.epoch == b.epoch {
				return fmt.Sprintf("nodes %d and %d serve the device at epoch %d", j, i, a.epoch)
			}
		}
	}
	for i, n := range w.pushed {
		if n > 1 && !s.twice {
			return fmt.Sprintf("message %d is queued twice", i)
		}
	}
	return ""
}

// atEnd returns what is wrong when nothing can happen any more.
func (s *scenario) atEnd(w *world) string {
	for i := range s.publisher {
		if w.acked&^(w.r.done|w.r.queue)&bit(i) != 0 {
			return fmt.Sprintf("message %d is lost", i)
		}
	}
	served := false
	for i := range w.nodes {
		if nd := &w.nodes[i]; nd.role == live {
			if !w.r.fence.Allows(own(i), nd.epoch) {
				return fmt.Sprintf("node %d believes that it is the owner", i)
			}
			served = true
		} else if nd.role != none {
			return fmt.Sprintf("node %d waits for ever", i)
		}
		if nd := &w.nodes[i]; nd.hand.kind != 0 || nd.near.kind != 0 || nd.out != 0 || nd.alive && !nd.woke && w.nextItem(i) != nil {
			return fmt.Sprintf("node %d has something in hand for ever", i)
		}
	}
	if !served {
		return "nobody has the device"
	}
	return ""
}

var scenarios = []scenario{
	{name: "a move, publisher elsewhere", connects: []int{1}, publisher: []int{2}},
	{name: "a move, publisher at the old owner", connects: []int{1}, publisher: []int{0}},
	{name: "a move, publisher at the new owner", connects: []int{1}, publisher: []int{1}},
	{name: "a move to a node that wants the filter already", connects: []int{1}, publisher: []int{2}, shared: true},
	{name: "there and back", connects: []int{1, 0}, publisher: []int{2}},
	{name: "a move, the old owner dies", connects: []int{1}, publisher: []int{2}, deaths: 1, victim: 0, adopter: 2},
	{name: "a move, the new owner dies", connects: []int{1}, publisher: []int{2}, deaths: 1, victim: 1, adopter: 2},
	{name: "the owner dies", publisher: []int{2}, deaths: 1, victim: 0, adopter: 2},
	{name: "the owner dies, publisher at the adopter's", publisher: []int{1, 2}, deaths: 1, victim: 0, adopter: 2},
	{name: "the owner pauses", publisher: []int{2}, pauses: 1, victim: 0, adopter: 2},
	{name: "the owner pauses, publisher elsewhere", publisher: []int{1}, pauses: 1, victim: 0, adopter: 2},
	{name: "the owner pauses and publishes", publisher: []int{0}, pauses: 1, victim: 0, adopter: 2},
	{name: "the publisher pauses", connects: []int{1}, publisher: []int{2}, pauses: 1, victim: 2, adopter: 1},
	{name: "the publisher pauses and dies", connects: []int{1}, publisher: []int{2}, pauses: 1, deaths: 1, victim: 2, adopter: 1},
	{name: "a move, two messages", connects: []int{1}, publisher: []int{2, 0}},
	{name: "a move, two messages 2", connects: []int{1}, publisher: []int{1, 2}, shared: true},
	{name: "a move, the old owner pauses and publishes", connects: []int{1}, publisher: []int{0}, pauses: 1, victim: 0, adopter: 2, apart: true},
	{name: "a move, the new owner pauses", connects: []int{1}, publisher: []int{2}, pauses: 1, victim: 1, adopter: 2, moved: true, apart: true},
	{name: "a move, the old owner pauses", connects: []int{1}, publisher: []int{2}, pauses: 1, victim: 0, adopter: 2, apart: true, twice: true},
}

func TestWalk(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			states, failure := explore(s, 0, 8_000_000)
			t.Log(states, "states")
			if failure != "" {
				t.Error(failure)
			}
		})
	}
}

func TestMutants(t *testing.T) {
	slices.SortStableFunc(scenarios, func(a, b scenario) int { return int(a.pauses+a.deaths) - int(b.pauses+b.deaths) })
	for i := range ruleCount {
		found := ""
		for _, s := range scenarios {
			if _, failure := explore(s, 1<<i, 2_000_000); failure != "" && failure[:3] != "too" {
				found = s.name + ": " + strings.SplitN(failure, "\n", 2)[0]
				break
			}
		}
		t.Log(i, found)
	}
}
