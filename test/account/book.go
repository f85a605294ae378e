// Package account compares what clients of a gateway know: every message that was acknowledged has arrived where it had to.
package account

import (
	"iter"
	"slices"
	"sync"
	"time"
)

// Book is what the clients know of every message: when it was sent, acknowledged, and when it arrived where. The verdict is made
// from it alone. All its methods are safe from any goroutine. Times are counted from the start of the run.
type Book struct {
	Now  func() time.Duration // since the start; static
	Drop int                  // the arrival with this number is not noted, so that a test sees a loss; 0 means none; static

	mu        sync.Mutex
	ill       bool          // the store may fail: the disk is full, or was, and the gateway is not ready yet
	well      time.Duration // when that was over last; 0 means never
	topics    map[string]*Topic
	published map[string][]*Topic // by publisher
	matches   map[string]matches  // by filter
	receivers map[string]*Receiver
	events    map[string][]Event // by client: connections, and what ended them
	faults    []string           // what must not happen whatever is lost, such as a session that is gone
	arrivals  int
	counted   Counts        // of all devices
	progress  time.Duration // of the last acknowledgement or arrival
}

// Topic is the messages of one topic, which has one publisher.
type Topic struct {
	Name, Publisher string
	QoS             byte
	Retained        bool // only the last value counts
	Unordered       bool // its messages have no order: wills, and those of shared subscriptions
	Backend         bool // its publisher is no device
	Streamed        bool // it is in the stream as well
	Will            bool // a message is a connection\'s will, acknowledged when the connection was cut
	sent            []sending
	settled         int // messages with a lower number have their answers
}

// sending is one message; its number is its index in Topic.sent.
type sending struct {
	first, last time.Duration // when it was sent first and last
	tries       int
	acked       time.Duration // 0 while it is not acknowledged
	refused     bool          // the gateway has answered that it does not take it: it may arrive or not
	ill         bool          // the disk failed between its sending and its answer
	empty       bool          // a retained message that removes the topic's
	untold      int           // how many messages of the topic were sent when its answer, perhaps a refusal, was lost; see CutOff
}

// Receiver is a session, or a group of a shared subscription.
type Receiver struct {
	Name      string
	QoS       byte // the QoS of its subscriptions
	interests []*Interest
	arrived   map[string][]arrival // by topic, in the order of arrival
}

type arrival struct {
	number int
	at     time.Duration
}

// Interest is a subscription of a receiver to the topics that match a filter.
type Interest struct {
	Handler     bool // what waits when it ends has no handler any more, and need not arrive
	Filter      string
	Asked, From time.Duration // when it was asked for, and acknowledged
	Ending, To  time.Duration // when its end was asked for, and acknowledged; 0 means not
}

// Event is something that happened to a client.
type Event struct {
	At   time.Duration
	Text string
}

// NewBook returns an empty book, whose clock begins.
func NewBook() *Book {
	start := time.Now()
	return &Book{
		Now:       func() time.Duration { return time.Since(start) },
		topics:    make(map[string]*Topic),
		published: make(map[string][]*Topic),
		matches:   make(map[string]matches),
		receivers: make(map[string]*Receiver),
		events:    make(map[string][]Event),
	}
}

// Topic adds a topic.
func (b *Book) Topic(t Topic) *Topic {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics[t.Name] = &t
	b.published[t.Publisher] = append(b.published[t.Publisher], &t)
	return &t
}

// Send notes a new message and returns its number.
func (b *Book) Send(t *Topic, empty bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.Now()
	t.sent = append(t.sent, sending{first: now, last: now, tries: 1, empty: empty, ill: b.ill})
	return len(t.sent) - 1
}

// StoreFails notes whether the store may fail from now on.
func (b *Book) StoreFails(may bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ill = may; !may {
		b.well = b.Now()
	}
}

// CutOff notes that a connection has ended, which began at that time, of a publisher that is told refusals. The store may have refused
// messages whose answers are lost with the connection, and then have taken later ones. The publisher sends all of them again, in order. The gateway
// takes those that it had refused for the first time, behind the later ones: a refusal has no acknowledgement, so no gateway can know that
// the publisher did not get it. docs/guarantees.md says so in the row Order.
func (b *Book) CutOff(publisher string, began time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.published[publisher] {
		for s := range t.open() {
			if b.ill || b.well > max(s.first, began) {
				s.untold = len(t.sent)
			}
		}
	}
}

// Again notes that a message is sent again.
func (b *Book) Again(t *Topic, number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &t.sent[number]
	s.last, s.tries, s.ill = b.Now(), s.tries+1, s.ill || b.ill
}

// Answer notes the answer to a message.
func (b *Book) Answer(t *Topic, number int, refused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &t.sent[number]
	s.ill = s.ill || b.ill
	if refused {
		s.refused = true
		return
	}
	b.progress = b.Now()
	s.acked = b.progress
	if !t.Will && !t.Backend {
		b.counted.Published++
	}
}

// open goes through the messages that have no answer yet. A will has none.
func (t *Topic) open() iter.Seq[*sending] {
	return func(yield func(*sending) bool) {
		if t.Will {
			return
		}
		for ; t.settled < len(t.sent) && t.sent[t.settled].answered(); t.settled++ {
		}
		for i := t.settled; i < len(t.sent); i++ {
			if s := &t.sent[i]; !s.answered() && !yield(s) {
				return
			}
		}
	}
}

func (s *sending) answered() bool { return s.acked > 0 || s.refused }

// Receiver adds a receiver, whose subscriptions have the given QoS.
func (b *Book) Receiver(name string, qos byte) *Receiver {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.receivers[name]; r != nil {
		return r
	}
	r := &Receiver{Name: name, QoS: qos, arrived: make(map[string][]arrival)}
	b.receivers[name] = r
	return r
}

// Subscribing notes that a subscription is asked for.
func (b *Book) Subscribing(r *Receiver, filter string) *Interest {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := &Interest{Filter: filter, Asked: b.Now()}
	r.interests = append(r.interests, i)
	return i
}

// Note sets one of an interest's times to now, unless it is set.
func (b *Book) Note(at *time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *at == 0 {
		*at = b.Now()
	}
}

// Arrive notes that a message has arrived.
func (b *Book) Arrive(r *Receiver, topic string, number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.arrivals++; b.arrivals == b.Drop {
		return
	}
	b.progress = b.Now()
	r.arrived[topic] = append(r.arrived[topic], arrival{number, b.progress})
}

// Event notes what happened to a client.
func (b *Book) Event(client, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events[client] = append(b.events[client], Event{b.Now(), text})
}

// Last returns the last events of a client.
func (b *Book) Last(client string, most int) []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.events[client]
	return slices.Clone(list[max(0, len(list)-most):])
}

// Fault notes what must not happen.
func (b *Book) Fault(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, b.Now().Round(time.Millisecond).String()+" "+text)
}

// Faults returns what was noted by Fault.
func (b *Book) Faults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.faults)
}

// Subscribed returns the filters of a receiver whose subscriptions were acknowledged, and that did not end.
func (b *Book) Subscribed(receiver string) (filters []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.receivers[receiver]; r != nil {
		for _, i := range r.interests {
			if i.From > 0 && i.Ending == 0 {
				filters = append(filters, i.Filter)
			}
		}
	}
	return filters
}

// Counts returns what the devices have counted so far.
func (b *Book) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counted
}

// Acknowledged notes that a device acknowledges a message.
func (b *Book) Acknowledged() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counted.Received++
}

// Open returns how many messages wait for their answers, by publisher.
func (b *Book) Open() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	open := make(map[string]int)
	for _, t := range b.topics {
		for range t.open() {
			open[t.Publisher]++
		}
	}
	return open
}

// Quiet reports how long nothing was answered and nothing arrived.
func (b *Book) Quiet() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Now() - b.progress
}

// Counts are what the clients of all devices, or the gateway, count.
type Counts struct {
	Published uint64 // answers to publications that took them
	Received  uint64 // acknowledgements of messages
}
