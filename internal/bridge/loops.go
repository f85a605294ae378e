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
// gateways that it has left, which sinks append. A source drops a message that has left this gateway before. A sink leaves out one that has left this gateway before, or
// was at the sink's broker.
//
// In 3.1.1 there are no properties, so a message arrives without its hops. What a source takes still gets the source's broker as a hop, and so is never sent back there.
// For the rest there is a memory of what sinks sent lately, by hashes of topic and payload:
//
//   - what a sink sent to a broker at which a source has a subscription for it comes back from there once;
//   - what a sink sent anywhere may come back from another broker, or under another name, within Config.Remember, once or more often.
type Loops struct {
	id   string
	seed maphash.Seed
	now  func() time.Time

	blind atomic.Bool // some source sees no hops

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

// Arrive returns the properties of a message that a source takes from a broker, with the broker as a hop. ok is false if the message has left this gateway before.
// remote is its topic there, local its topic here.
func (l *Loops) Arrive(properties []message.Property, broker, remote, local string, payload []byte) (_ []message.Property, ok bool, err error) {
	hops := HopsOf(properties)
	if hasHop(hops, l.id) || hops == "" && l.returned(broker, remote, local, payload) {
		return nil, false, nil
	}
	if hops, err = addHop(hops, broker); err != nil {
		return nil, false, err
	}
	properties = slices.DeleteFunc(slices.Clone(properties), func(p message.Property) bool { return p.Key == HopsProperty })
	return append(properties, message.Property{Key: HopsProperty, Value: hops}), true, nil
}

// Subscribe notes what a source has subscribed to, until Unsubscribe.
func (l *Loops) Subscribe(s *Subscribed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sources[s] = struct{}{}
	l.look()
}

// Unsubscribe undoes Subscribe.
func (l *Loops) Unsubscribe(s *Subscribed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, s)
	l.look()
}

// look notes whether some source sees no hops. mu is held.
func (l *Loops) look() {
	blind := false
	for s := range l.sources {
		blind = blind || !s.Hops
	}
	l.blind.Store(blind)
}

// Sent is what Loops remembers of a message that a sink sent. The zero value is nothing.
type Sent struct{ echo uint64 } // its hash among the echoes

// Send notes that a sink is about to send a message to a broker. hops says that the message goes with its hops.
func (l *Loops) Send(broker string, hops bool, remember time.Duration, remote, local string, payload []byte) (s Sent) {
	if hops && !l.blind.Load() {
		return s
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now, there := l.now(), l.hash(broker, remote, payload)
	if l.comesBack(broker, hops, remote) {
		s.echo = there
		l.echoes.add(s.echo, 0, now, echoTime)
	}
	l.circling.add(l.hash("", local, payload), there, now, remember)
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

// returned reports whether a message that came without hops is one that a sink sent.
func (l *Loops) returned(broker, remote, local string, payload []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, here := l.now(), l.hash(broker, remote, payload)
	if l.echoes.take(here, now) {
		return true
	}
	from, ok := l.circling.look(l.hash("", local, payload), now)
	return ok && from != here // otherwise it would have been an echo
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
	from  uint64    // of the latest
	ends  time.Time // when the latest is forgotten
}

const (
	mostMemos      = 1 << 16 // of one generation
	generationTime = echoTime
)

func (m *memory) add(hash, from uint64, now time.Time, keep time.Duration) {
	if m.young == nil || len(m.young) >= mostMemos || now.Sub(m.turned) >= generationTime {
		m.young, m.old, m.turned = make(map[uint64]memo), m.young, now
	}
	m.young[hash] = memo{m.young[hash].count + 1, from, now.Add(keep)}
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

// look returns from where the latest with this hash is.
func (m *memory) look(hash uint64, now time.Time) (from uint64, ok bool) {
	for _, memos := range []map[uint64]memo{m.young, m.old} {
		if k, ok := memos[hash]; ok && !now.After(k.ends) {
			return k.from, true
		}
	}
	return 0, false
}
