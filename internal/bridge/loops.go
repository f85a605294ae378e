package bridge

import (
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

// Loops keeps messages from coming back to where they were. It is shared by all sinks and sources of a gateway. Its methods are safe from any goroutine.
//
// A message has a list of hops, as a user property: the names of the brokers that it was at, which sources append, and the identities of the
// gateways that it has left, which sinks append. A source drops a message that has left this gateway before. A sink leaves out one that has left this
// gateway before, or was at the sink's broker.
//
// In 3.1.1 there are no properties. A source still gives what it takes from there its broker as a hop, so it is never sent back there. For the rest
// a gateway with links of 3.1.1 remembers what its sinks sent lately, by hashes of topic and payload:
//
//   - what a sink sent to a broker at which a source, without seeing hops, has a subscription for it comes back from there once;
//   - what a sink sent may come back from another broker, or under another name, within Config.Remember, once or more often: to a source of 3.1.1 in
//     any case, and to others if a sink of 3.1.1 sent it.
//
// So the second one also drops what somebody else published with the same topic and payload meanwhile. A circle is broken by each gateway in it that
// has a link of 3.1.1 there; it is not if all these links belong to other programs.
type Loops struct {
	id   string
	seed maphash.Seed
	now  func() time.Time

	lossy atomic.Bool // some link is of 3.1.1

	mu       sync.Mutex
	sources  map[*Subscribed]struct{}
	echoes   memory // of what comes back from the broker that it was sent to
	circling memory // of what may come back by others
}

// Subscribed is what a source has subscribed to at a broker.
type Subscribed struct {
	Broker  string // its hop
	Hops    bool   // messages come with their hops
	Filters []string
}

// HopsProperty is the name of the user property with the hops of a message, with commas between them.
const HopsProperty = "longline-hops"

const (
	mostHops     = 16 // a message that has more was at so many brokers that something is wrong
	mostHopBytes = 64 // of one
	echoTime     = 5 * time.Minute
)

// ErrFar is why a message with too many hops is not sent.
var ErrFar = errors.New("it was at too many brokers and gateways")

// NewLoops returns the loops of a gateway. id is its identity, which no other gateway has.
func NewLoops(id string) *Loops {
	return &Loops{
		id: id, seed: maphash.MakeSeed(), now: time.Now,
		sources: make(map[*Subscribed]struct{}),
	}
}

// ID returns the gateway's identity.
func (l *Loops) ID() string { return l.id }

// Hop returns the name by which messages that were at a broker are known. A broker that has no name of its own is known to this gateway alone.
func (l *Loops) Hop(b *Broker) string {
	if b.Shared() {
		return b.Name()
	}
	return l.id + "/" + b.Name()
}

// validHop reports whether name may be in a list of hops.
func validHop(name string) bool {
	for _, r := range name {
		if r <= ' ' || r > '~' || r == ',' {
			return false
		}
	}
	return name != "" && len(name) <= mostHopBytes
}

// HopsOf returns the list of hops among user properties.
func HopsOf(properties []message.Property) string {
	for _, p := range properties {
		if p.Key == HopsProperty {
			return p.Value
		}
	}
	return ""
}

// hasHop reports whether a list of hops has one of that name.
func hasHop(hops, name string) bool {
	for hop := range strings.SplitSeq(hops, ",") {
		if hop == name {
			return true
		}
	}
	return false
}

// addHop returns hops with one more.
func addHop(hops, name string) (string, error) {
	switch {
	case hops == "":
		return name, nil
	case strings.Count(hops, ",")+2 > mostHops || len(hops) > mostHops*mostHopBytes:
		return "", ErrFar
	}
	return hops + "," + name, nil
}

// Leave returns the hops of a message that a sink sends to a broker, whose hop is given. ok is false if the message was there or has left this gateway before.
func (l *Loops) Leave(properties []message.Property, broker string) (hops string, ok bool, err error) {
	hops = HopsOf(properties)
	if hasHop(hops, l.id) || hasHop(hops, broker) {
		return "", false, nil
	}
	hops, err = addHop(hops, l.id)
	return hops, err == nil, err
}

// Arrival is a message that a source takes from a broker.
type Arrival struct {
	Broker        string // its hop
	Remote, Local string // the topic there and here
	Payload       []byte
	Properties    []message.Property
	Hops          bool // it came with its hops
}

// Arrive returns the properties of a message that a source takes, with the broker as a hop. ok is false if the message has left this gateway before.
func (l *Loops) Arrive(m Arrival) (_ []message.Property, ok bool, err error) {
	hops := HopsOf(m.Properties)
	if hasHop(hops, l.id) || l.returned(m) {
		return nil, false, nil
	}
	if hops, err = addHop(hops, m.Broker); err != nil {
		return nil, false, err
	}
	properties := slices.DeleteFunc(slices.Clone(m.Properties), func(p message.Property) bool { return p.Key == HopsProperty })
	return append(properties, message.Property{Key: HopsProperty, Value: hops}), true, nil
}

// Subscribe notes what a source has subscribed to, until Unsubscribe.
func (l *Loops) Subscribe(s *Subscribed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sources[s] = struct{}{}
	if !s.Hops {
		l.lossy.Store(true)
	}
}

// Unsubscribe undoes Subscribe.
func (l *Loops) Unsubscribe(s *Subscribed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, s)
}

// Sent is what Loops remembers of a message that a sink sent. The zero value is nothing.
type Sent struct{ echo uint64 } // its hash among the echoes

// Sending is a message that a sink is about to send to a broker.
type Sending struct {
	Broker        string // its hop
	Remote, Local string // the topic there and here
	Payload       []byte
	Hops          bool          // it goes with its hops
	Passing       bool          // it came by a source
	Remember      time.Duration // Config.Remember
}

// Send notes that a sink is about to send a message.
func (l *Loops) Send(m Sending) (s Sent) {
	if !m.Hops {
		l.lossy.Store(true)
	}
	if !l.lossy.Load() {
		return s
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, there := l.now(), l.hash(m.Broker, m.Remote, m.Payload)
	if l.comesBack(m.Broker, m.Hops, m.Remote) {
		s.echo = there
		l.echoes.add(s.echo, memo{ends: now.Add(echoTime)}, now)
	}
	if m.Passing {
		there = 0 // it may come from there as well, from others that pass it on
	}
	l.circling.add(l.hash("", m.Local, m.Payload), memo{from: there, bare: !m.Hops, ends: now.Add(m.Remember)}, now)
	return s
}

// comesBack reports whether a message comes back from the broker that it is sent to, to a source that will not see its hops. mu is held.
func (l *Loops) comesBack(broker string, hops bool, remote string) bool {
	for s := range l.sources {
		if s.Broker != broker || hops && s.Hops {
			continue
		}
		for _, f := range s.Filters {
			if topic.Match(f, remote) {
				return true
			}
		}
	}
	return false
}

// Unsent undoes Send for a message that the broker has not acknowledged. It is sent again.
func (l *Loops) Unsent(s Sent) {
	if s.echo == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.echoes.take(s.echo, l.now())
}

// returned reports whether a message is one that a sink sent, as far as it does not have its hops.
func (l *Loops) returned(m Arrival) bool {
	if !l.lossy.Load() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, here := l.now(), l.hash(m.Broker, m.Remote, m.Payload)
	if !m.Hops && l.echoes.take(here, now) {
		return true
	}
	memo, ok := l.circling.look(l.hash("", m.Local, m.Payload), now)
	return ok && (memo.bare || !m.Hops) && memo.from != here // otherwise it is not an echo: somebody else published the same
}

// hash returns a hash of a message, not 0.
func (l *Loops) hash(broker, topic string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(l.seed)
	_, _ = h.WriteString(broker)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(topic)
	_ = h.WriteByte(0)
	_, _ = h.Write(payload)
	return max(h.Sum64(), 1)
}

// memory remembers hashes for a time. It has two generations: the old one goes when the young one is full or old enough.
type memory struct {
	young, old map[uint64]memo
	turned     time.Time
}

// memo is what is known of one hash.
type memo struct {
	count int
	bare  bool      // some were sent without their hops
	from  uint64    // of the latest
	ends  time.Time // when the latest is forgotten
}

const (
	mostMemos      = 1 << 16 // of one generation
	generationTime = echoTime
)

// add remembers one more with this hash.
func (m *memory) add(hash uint64, one memo, now time.Time) {
	if m.young == nil || len(m.young) >= mostMemos || now.Sub(m.turned) >= generationTime {
		m.young, m.old, m.turned = make(map[uint64]memo), m.young, now
	}
	before := m.young[hash]
	one.count, one.bare = before.count+1, one.bare || before.bare && now.Before(before.ends)
	m.young[hash] = one
}

// take forgets one of what has this hash, and reports whether there was one.
func (m *memory) take(hash uint64, now time.Time) bool {
	for _, memos := range []map[uint64]memo{m.old, m.young} {
		k, ok := memos[hash]
		if !ok || now.After(k.ends) {
			continue
		}
		if k.count--; k.count > 0 {
			memos[hash] = k
		} else {
			delete(memos, hash)
		}
		return true
	}
	return false
}

// look returns what is known of this hash.
func (m *memory) look(hash uint64, now time.Time) (k memo, ok bool) {
	for _, memos := range []map[uint64]memo{m.young, m.old} {
		if k, ok := memos[hash]; ok && !now.After(k.ends) {
			return k, true
		}
	}
	return memo{}, false
}
