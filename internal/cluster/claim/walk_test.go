package claim

import (
	"flag"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
)

// explore walks all states of a scenario and returns the steps to the first one that is wrong.
func explore(s scenario, broken rules) (states int, failure string) {
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
	if w.twice != 0 && !s.twice {
		return "a message is queued twice"
	}
	return ""
}

// atEnd returns what is wrong when nothing can happen any more.
func (s *scenario) atEnd(w *world) string {
	for i := range s.publisher {
		if w.acked&^(w.had|w.r.queue)&bit(i) != 0 {
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

// scenarios are walked by every run of the tests; long ones without the race detector alone.
var scenarios = []scenario{
	{name: "a move, publisher elsewhere", connects: []int{1}, publisher: []int{2}},
	{name: "a move, publisher at the old owner", connects: []int{1}, publisher: []int{0}},
	{name: "a move, publisher at the new owner", connects: []int{1}, publisher: []int{1}},
	{name: "a move to a node that wants the filter already", connects: []int{1}, publisher: []int{2}, shared: true},
	{name: "a move, two publishers", connects: []int{1}, publisher: []int{2, 0}},
	{name: "a move, two publishers, the filter is wanted already", connects: []int{1}, publisher: []int{1, 2}, shared: true},
	{name: "there and back", connects: []int{1, 0}, publisher: []int{2}},
	{name: "the owner dies", publisher: []int{2}, deaths: 1, victim: 0, adopter: 2},
	{name: "the owner dies, two publishers", long: true, publisher: []int{1, 2}, deaths: 1, victim: 0, adopter: 2},
	{name: "a move, the old owner dies", long: true, connects: []int{1}, publisher: []int{2}, deaths: 1, victim: 0, adopter: 2},
	{name: "a move, the new owner dies", long: true, connects: []int{1}, publisher: []int{2}, deaths: 1, victim: 1, adopter: 2},
	{name: "the owner pauses", publisher: []int{2}, pauses: 1, victim: 0, adopter: 2},
	{name: "the owner pauses, publisher at a third node", publisher: []int{1}, pauses: 1, victim: 0, adopter: 2},
	{name: "the owner pauses and publishes", publisher: []int{0}, pauses: 1, victim: 0, adopter: 2},
	{name: "the publisher pauses", connects: []int{1}, publisher: []int{2}, pauses: 1, victim: 2, adopter: 1},
	{name: "the publisher pauses and dies", connects: []int{1}, publisher: []int{2}, pauses: 1, deaths: 1, victim: 2, adopter: 1},
	{name: "a failover of the log", long: true, connects: []int{1}, publisher: []int{2}, failover: theLog},
	{name: "a failover of the inboxes", connects: []int{1}, publisher: []int{2}, failover: theInboxes},
	{name: "a failover of the device", connects: []int{1}, publisher: []int{2}, failover: theDevice, twice: true},
}

// large are scenarios of millions of states, which are walked with -large. Twice marks the windows that remain, see DESIGN.md.
var large = []scenario{
	{name: "a move, the old owner pauses and publishes", connects: []int{1}, publisher: []int{0}, pauses: 1, victim: 0, adopter: 2, apart: true},
	{name: "a move, the old owner pauses", connects: []int{1}, publisher: []int{2}, pauses: 1, victim: 0, adopter: 2, apart: true, twice: true},
	{name: "a move, the new owner pauses", connects: []int{1}, publisher: []int{2}, pauses: 1, victim: 1, adopter: 2, moved: true, apart: true},
}

var walkLarge = flag.Bool("large", false, "walk the scenarios of millions of states as well")

func TestWalk(t *testing.T) {
	all := scenarios
	if *walkLarge {
		all = slices.Concat(scenarios, large)
	}
	for _, s := range all {
		if s.long && raceEnabled {
			continue // the detector makes it ten times slower, and there is one goroutine
		}
		t.Run(s.name, func(t *testing.T) {
			states, failure := explore(s, 0)
			t.Log(states, "states")
			if failure != "" {
				t.Error(failure)
			}
		})
	}
}

// TestBrokenRules breaks each rule once: the walk of a scenario has to find that.
func TestBrokenRules(t *testing.T) {
	broken := map[rules]string{
		noFence:         "a move, publisher elsewhere",
		sameEpoch:       "a move, publisher elsewhere",
		nearIsZero:      "a move, publisher at the new owner",
		logsEnd:         "a move to a node that wants the filter already",
		readAhead:       "a move, publisher elsewhere",
		noRedirect:      "a move, publisher elsewhere",
		noShadow:        "a move, publisher elsewhere",
		allSentOn:       "there and back",
		oneLeft:         "there and back",
		positionOnly:    "a move, publisher elsewhere",
		inboxForgotten:  "a move, publisher elsewhere",
		drainFirst:      "the owner dies",
		removeEarly:     "a move, the old owner dies",
		inboxStays:      "the owner dies",
		anySender:       "a move, the new owner dies",
		noPlace:         "the owner dies",
		readPast:        "a failover of the log",
		highestOnly:     "a failover of the inboxes",
		replayForgotten: "a failover of the inboxes",
		noReplay:        "a failover of the device",
		noSince:         "a move, the new owner dies",
		noSeen:          "a move, the old owner dies",
		claimingSkips:   "there and back",
		ackAnyway:       "the publisher pauses",
		noAdoption:      "the owner dies",
	}
	for i := range ruleCount {
		rule := rules(1) << i
		j := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == broken[rule] })
		if j < 0 {
			t.Errorf("no scenario for rule %d", i)
			continue
		}
		if scenarios[j].long && raceEnabled {
			continue
		}
		if _, failure := explore(scenarios[j], rule); failure == "" {
			t.Errorf("rule %d is broken, and the walk of %q does not see it", i, broken[rule])
		} else {
			t.Logf("rule %d: %s", i, strings.SplitN(failure, "\n", 2)[0])
		}
	}
}
