package main

import (
	"slices"
	"sync"
	"time"
)

// book is what the clients know of every message: when it was sent, acknowledged, and when it arrived where. The verdict is made
// from it alone. All its methods are safe from any goroutine. Times are counted from the start of the run.
type book struct {
	now func() time.Duration

	mu        sync.Mutex
	ill       bool          // the store may fail: the disk is full, or was, and the gateway is not ready yet
	well      time.Duration // when that was over last; 0 means never
	topics    map[string]*topicBook
	receivers map[string]*receiver
	events    map[string][]event // by client: connections, and what ended them
	faults    []string           // what must not happen whatever is lost, such as a session that is gone
	drop      int                // the arrival with this number is not noted, so that the test sees a loss; 0 means none
	arrivals  int
	counted   counts        // of all devices
	progress  time.Duration // of the last acknowledgement or arrival
}

// topicBook is the messages of one topic, which has one publisher.
type topicBook struct {
	name, publisher string
	qos             byte
	retained        bool // only the last value counts
	unordered       bool // its messages have no order: wills, and those of shared subscriptions
	backend         bool // its publisher is no device
	streamed        bool // it is in the stream as well
	will            bool // a message is a connection\'s will, acknowledged when the connection was cut
	sent            []sending
}

// sending is one message; its number is its index in topicBook.sent.
type sending struct {
	first, last time.Duration // when it was sent first and last
	tries       int
	acked       time.Duration // 0 while it is not acknowledged
	refused     bool          // the gateway has answered that it does not take it: it may arrive or not
	ill         bool          // the disk failed between its sending and its answer
	empty       bool          // a retained message that removes the topic's
	untold      int           // how many messages of the topic were sent when its answer, perhaps a refusal, was lost; see cutOff
}

// receiver is a session, or a group of a shared subscription.
type receiver struct {
	name      string
	qos       byte // the QoS of its subscriptions
	interests []*interest
	arrived   map[string][]arrival // by topic, in the order of arrival
}

type arrival struct {
	number int
	at     time.Duration
}

// interest is a subscription of a receiver to the topics that match a filter.
type interest struct {
	handler     bool // what waits when it ends has no handler any more, and need not arrive
	filter      string
	asked, from time.Duration // when it was asked for, and acknowledged
	ending, to  time.Duration // when its end was asked for, and acknowledged; 0 means not
}

type event struct {
	at   time.Duration
	text string
}

func newBook() *book {
	start := time.Now()
	return &book{
		now:       func() time.Duration { return time.Since(start) },
		topics:    make(map[string]*topicBook),
		receivers: make(map[string]*receiver),
		events:    make(map[string][]event),
	}
}

// topic adds a topic.
func (b *book) topic(t topicBook) *topicBook {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics[t.name] = &t
	return &t
}

// send notes a new message and returns its number.
func (b *book) send(t *topicBook, empty bool) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	t.sent = append(t.sent, sending{first: now, last: now, tries: 1, empty: empty, ill: b.ill})
	return len(t.sent) - 1
}

// storeFails notes whether the store may fail from now on.
func (b *book) storeFails(may bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ill = may; !may {
		b.well = b.now()
	}
}

// cutOff notes that a connection has ended, which began at that time, of a publisher that is told refusals. The store may have refused
// messages whose answers are lost with the connection, and then have taken later ones. The publisher sends all of them again, in order. The gateway
// takes those that it had refused for the first time, behind the later ones: a refusal has no acknowledgement, so no gateway can know that
// the publisher did not get it. docs/guarantees.md says so in the row Order.
func (b *book) cutOff(publisher string, began time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.topics {
		if t.publisher != publisher || t.will {
			continue
		}
		for i := range t.sent {
			s := &t.sent[i]
			if s.acked == 0 && !s.refused && (b.ill || b.well > max(s.first, began)) {
				s.untold = len(t.sent)
			}
		}
	}
}

// again notes that a message is sent again.
func (b *book) again(t *topicBook, number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &t.sent[number]
	s.last, s.tries, s.ill = b.now(), s.tries+1, s.ill || b.ill
}

// answer notes the answer to a message.
func (b *book) answer(t *topicBook, number int, refused bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &t.sent[number]
	s.ill = s.ill || b.ill
	if refused {
		s.refused = true
		return
	}
	b.progress = b.now()
	s.acked = b.progress
	if !t.will && !t.backend {
		b.counted.published++
	}
}

// receiver adds a receiver, whose subscriptions have the given QoS.
func (b *book) receiver(name string, qos byte) *receiver {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.receivers[name]; r != nil {
		return r
	}
	r := &receiver{name: name, qos: qos, arrived: make(map[string][]arrival)}
	b.receivers[name] = r
	return r
}

// subscribing notes that a subscription is asked for.
func (b *book) subscribing(r *receiver, filter string) *interest {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := &interest{filter: filter, asked: b.now()}
	r.interests = append(r.interests, i)
	return i
}

// note sets one of an interest's times to now, unless it is set.
func (b *book) note(at *time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *at == 0 {
		*at = b.now()
	}
}

// arrive notes that a message has arrived.
func (b *book) arrive(r *receiver, topic string, number int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.arrivals++; b.arrivals == b.drop {
		return
	}
	b.progress = b.now()
	r.arrived[topic] = append(r.arrived[topic], arrival{number, b.progress})
}

// event notes what happened to a client.
func (b *book) event(client, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events[client] = append(b.events[client], event{b.now(), text})
}

// last returns the last events of a client.
func (b *book) last(client string, most int) []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.events[client]
	return slices.Clone(list[max(0, len(list)-most):])
}

// fault notes what must not happen.
func (b *book) fault(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, b.now().Round(time.Millisecond).String()+" "+text)
}

// counts returns what the devices have counted so far.
func (b *book) counts() counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counted
}

// acknowledged notes that a device acknowledges a message.
func (b *book) acknowledged() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counted.received++
}

// open returns how many messages wait for their answers, by publisher.
func (b *book) open() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	open := make(map[string]int)
	for _, t := range b.topics {
		if t.will {
			continue
		}
		for i := range t.sent {
			if s := &t.sent[i]; s.acked == 0 && !s.refused {
				open[t.publisher]++
			}
		}
	}
	return open
}

// quiet reports how long nothing was answered and nothing arrived.
func (b *book) quiet() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now() - b.progress
}
