package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
)

// sharedNode is a node that shares retained messages: what it has appended waits until the test writes it into the log.
type sharedNode struct {
	*Memory
	appended []Change
	read     int // entries of the log that it has applied
}

func (n *sharedNode) Append(c Change) { n.appended = append(n.appended, c) }

// sharedEntry is a change in the log, and the node that made it.
type sharedEntry struct {
	Change
	by int
}

// Whatever the order in which nodes change, write and read, and what they read again: in the end all have what the log says, and a node has
// its own last change until it has read that.
func TestSharedRetainedAgree(t *testing.T) {
	now := time.Now()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		var log []sharedEntry
		nodes := make([]*sharedNode, 3)
		for i := range nodes {
			nodes[i] = new(sharedNode)
			nodes[i].Memory = NewMemory(Options{RetainedLog: nodes[i]})
		}
		own := make([]map[string]string, len(nodes)) // what each node has made of a topic and not read yet
		for i := range own {
			own[i] = map[string]string{}
		}
		write := func(i int) {
			n := nodes[i]
			c := n.appended[0]
			n.appended = n.appended[1:]
			c.Place = uint64(len(log) + 1)
			n.Settle(c, false)
			log = append(log, sharedEntry{c, i})
		}
		apply := func(i, at int) {
			c := log[at].Change
			if log[at].by != i {
				c.Number = 0
			}
			if c.Message != nil {
				c.Message = c.Message.Clone()
			}
			nodes[i].ApplyChange(c)
		}
		read := func(i int) {
			n := nodes[i]
			e := log[n.read]
			apply(i, n.read)
			n.read++
			if e.by == i && lastOf(log, n.read, n.appended, i, e.Topic) {
				delete(own[i], e.Topic)
			}
		}
		for range 60 {
			i := random.IntN(len(nodes))
			n := nodes[i]
			switch random.IntN(4) {
			case 0, 1:
				m := &message.Message{Topic: fmt.Sprint("t", random.IntN(2)), Payload: fmt.Appendf(nil, "%d", random.IntN(1000))}
				if random.IntN(3) == 0 {
					m.Payload = nil
				}
				if err := n.Retain(m.Clone(), now); err != nil {
					t.Fatal(err)
				}
				own[i][m.Topic] = string(m.Payload)
			case 2:
				if len(n.appended) > 0 {
					write(i)
				}
			case 3:
				if n.read < len(log) {
					read(i)
				}
				if n.read > 0 && random.IntN(4) == 0 {
					for again := random.IntN(n.read); again < n.read; again++ {
						apply(i, again)
					}
				}
				if random.IntN(10) == 0 { // it goes on behind a place, as after a snapshot
					n.SettleAll(uint64(n.read))
				}
			}
			for topic, want := range own[i] {
				if got := retainedText(n, topic); got != want {
					t.Fatalf("seed %d: node %d has %q for %s, and has made it %q", seed, i, got, topic, want)
				}
			}
		}
		for i, n := range nodes {
			for len(n.appended) > 0 {
				write(i)
			}
		}
		for i, n := range nodes {
			for n.read < len(log) {
				read(i)
			}
			if len(n.retained.unseen) > 0 {
				t.Fatalf("seed %d: node %d waits for %v", seed, i, n.retained.unseen)
			}
		}
		final := map[string]string{}
		for _, e := range log {
			final[e.Topic] = ""
			if e.Message != nil {
				final[e.Topic] = string(e.Message.Payload)
			}
		}
		for i, n := range nodes {
			for topic, want := range final {
				if got := retainedText(n, topic); got != want {
					t.Fatalf("seed %d: in the end node %d has %q for %s, the log %q", seed, i, got, topic, want)
				}
			}
		}
	}
}

// lastOf reports whether a node has no further change of a topic, in the log from a place on or not written yet.
func lastOf(log []sharedEntry, from int, appended []Change, node int, topic string) bool {
	for _, e := range log[from:] {
		if e.by == node && e.Topic == topic {
			return false
		}
	}
	for _, c := range appended {
		if c.Topic == topic {
			return false
		}
	}
	return true
}

// A change that the log will never have gives way to what was put off for it.
func TestSharedRetainedSuperseded(t *testing.T) {
	n := new(sharedNode)
	n.Memory = NewMemory(Options{RetainedLog: n})
	now := time.Now()
	retain := func(payload string) *message.Message {
		return (&message.Message{Topic: "t", Payload: []byte(payload)}).Clone()
	}
	if err := n.Retain(retain("mine"), now); err != nil {
		t.Fatal(err)
	}
	n.ApplyChange(Change{Topic: "t", Message: retain("other"), Place: 7})
	if got := retainedText(n, "t"); got != "mine" {
		t.Errorf("before: %q", got)
	}
	n.Settle(n.appended[0], true)
	if got := retainedText(n, "t"); got != "other" {
		t.Errorf("after: %q", got)
	}
	n.ApplyChange(Change{Topic: "t", Message: retain("older"), Place: 6})
	if got := retainedText(n, "t"); got != "other" {
		t.Errorf("after an older one: %q", got)
	}
}

// Removals for topics that have nothing are bounded while the log takes none.
func TestSharedRetainedRemovalsAreBounded(t *testing.T) {
	n := new(sharedNode)
	n.Memory = NewMemory(Options{RetainedLog: n, Retained: RetainedLimits{Count: 3}})
	for i := range 4 {
		err := n.Retain((&message.Message{Topic: fmt.Sprint("t", i)}).Clone(), time.Now())
		if full := i == 3; errors.Is(err, ErrFull) != full {
			t.Errorf("removal %d: %v", i+1, err)
		}
	}
	if len(n.appended) != 3 {
		t.Errorf("%d are appended", len(n.appended))
	}
}

// A large message is in memory until the log has it. Then its head is.
func TestSharedRetainedLarge(t *testing.T) {
	n := new(sharedNode)
	n.Memory = NewMemory(Options{RetainedLog: n})
	m := (&message.Message{Topic: "t", Payload: []byte(strings.Repeat("x", 5000))}).Clone()
	if err := n.Retain(m, time.Now()); err != nil {
		t.Fatal(err)
	}
	stored := func() bool { k := n.retained.get("t"); return k.Stored() && k.Payload == nil && k.Size() == m.Size() }
	if stored() {
		t.Error("it has left memory before the log has it")
	}
	c := n.appended[0]
	c.Place = 1
	n.ApplyChange(c)
	if !stored() {
		t.Error("it stays in memory")
	}
	names, last := n.RetainedTopics(make([]string, 0, 4), "", 1)
	if len(names) != 1 || names[0] != "t" || last != "t" {
		t.Errorf("topics %q, %q", names, last)
	}
	if names, last = n.RetainedTopics(names[:0], last, 1); len(names) > 0 || last != "" {
		t.Errorf("behind the end: %q, %q", names, last)
	}
}

func retainedText(n *sharedNode, topic string) string {
	if k := n.retained.get(topic); k != nil {
		return string(k.Payload)
	}
	return ""
}
