// Package store keeps what outlives a connection: the messages that a session owes its
// device, the record from which a session is made again, and the retained messages.
package store

import (
	"errors"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

var (
	// ErrFull says that a bound would be passed; nothing was changed.
	ErrFull = errors.New("store: full")
	// ErrTooLarge says that a message alone passes the bound in bytes.
	ErrTooLarge = errors.New("store: message larger than the store may hold")
)

// Options are the bounds of a store. The zero value has the defaults.
type Options struct {
	Queue    Limits           `yaml:"queue" help:"what waits for one device"`
	Account  *message.Account `yaml:"-"` // of what is kept; nil has no bound
	Retained RetainedLimits   `yaml:"retained" help:"retained messages, of all topics"`
}

// Limits bound one queue. Zero fields mean the defaults.
type Limits struct {
	Count int           `yaml:"count" help:"messages, those in flight included"`
	Bytes int           `yaml:"bytes" unit:"bytes" help:"sum of topics, payloads and properties"`
	Age   time.Duration `yaml:"age" help:"how long a message may wait to be sent"`
}

// RetainedLimits bound the retained messages. Zero fields mean the defaults.
type RetainedLimits struct {
	Count int `yaml:"count" help:"messages"`
	Bytes int `yaml:"bytes" unit:"bytes" help:"sum of topics, payloads and properties"`

	PerDevice int      `yaml:"per_device" help:"percent of count and of bytes that what one device has published may take"`
	PerPrefix []string `yaml:"per_prefix" help:"percent of both for all devices whose id begins so, each as prefix=percent such as demo-=5; the longest prefix counts"`
}

// WithDefaults returns the options with defaults for zero fields.
func (o Options) WithDefaults() Options {
	q, r := &o.Queue, &o.Retained
	q.Count, q.Bytes = orDefault(q.Count, 1000), orDefault(q.Bytes, 1<<20)
	q.Age = orDefault(q.Age, 24*time.Hour)
	r.Count, r.Bytes = orDefault(r.Count, 1_000_000), orDefault(r.Bytes, 256<<20)
	r.PerDevice = orDefault(r.PerDevice, 10)
	return o
}

func orDefault[T int | time.Duration](v, normal T) T {
	if v <= 0 {
		return normal
	}
	return v
}

// Queue holds the messages that a session owes its device, in order, oldest first: those
// in flight, which were sent and wait for their acknowledgement, then the unsent.
//
// A queue is not safe for concurrent use: the session's lock guards it. Messages are
// owned, never changed, and may be in many queues.
type Queue interface {
	// Push appends a message, to be delivered with QoS q. It returns ErrFull when a bound
	// would be passed even without the unsent messages whose time is over, or ErrTooLarge.
	Push(m *message.Message, q message.QoS, now time.Time) error

	// Conflate puts m, to be delivered with QoS 0, in the place of the unsent message of its
	// topic that Conflate has taken before, which it discards; old is that one. If there is
	// none, or Push has taken another of the topic since, it is a Push and old is nil. An error
	// changes nothing.
	Conflate(m *message.Message, now time.Time) (old *message.Message, err error)

	// Next takes the oldest unsent message: one of QoS 0 leaves the queue, any other
	// becomes in flight. Those on the way whose time is over are discarded. One of QoS 2 is not
	// subject to its own Expiry any more once it was given [MQTT-4.3.3-7].
	Next(now time.Time) (m *message.Message, q message.QoS, ok bool)

	// TakeExpired returns how many messages were discarded because their time was over,
	// their own Expiry or Limits.Age after Push, since it was last called.
	TakeExpired() int

	// Ack removes the message in flight that has the id, the older one of two, in constant
	// time when it is the oldest of all. It is false when none has it: acknowledged twice,
	// never sent, or sent before a Rewind and not again.
	Ack(id uint64) bool

	// Oldest returns when the oldest message in flight was sent, to the second. ok is false when none is.
	Oldest() (sent time.Time, ok bool)

	// Rewind makes all in flight unsent again, in their order before the others: the device
	// has a new connection.
	Rewind()

	// DropOldest removes the oldest unsent message.
	DropOldest() (m *message.Message, ok bool)

	// DropOldestQoS0 removes the oldest unsent message of QoS 0.
	DropOldestQoS0() (m *message.Message, ok bool)

	// ShedQoS0 removes all unsent messages of QoS 0 and returns how many there were.
	ShedQoS0() int

	// Remove removes the unsent messages that want wants, asked in their order and without those
	// whose time is over, which it may discard. It returns how many there were.
	Remove(want func(m *message.Message, q message.QoS) bool, now time.Time) int

	Len() int      // messages
	Bytes() int    // sum of their message.Size
	InFlight() int // messages in flight

	// Close says that the session lets go of the queue and will not use it again. The
	// store forgets an empty queue and keeps the contents of any other.
	Close() error
}

// Record is the durable part of a session. It is not changed after Save: a changed record
// is a new one.
type Record struct {
	Device        string
	Session       uint64
	Expiry        time.Duration // how long the session outlives its connection
	Left          int64         // Unix milliseconds at which its last connection ended; 0 while it lives
	Missed        uint64        // messages lost while the device was away
	Subscriptions []topic.Subscription
	Will          *Will    // to be published; nil when there is none
	Packets       *Packets // what MQTT has under way; nil when there is nothing
}

// Will is a message that is published when a connection of the device ends without a word,
// MQTT 5 §3.1.2.5. It is not changed.
type Will struct {
	Message *message.Message // owned; its Source, Time and Expiry are set when it is published
	Delay   time.Duration    // from the end of the connection, if the session lives so long
	Expiry  time.Duration    // of the message, from its publication; 0 is never
}

// Packets are the packet identifiers of a session, MQTT 5 §2.2.1 and §4.4.
type Packets struct {
	Sent     []Packet // to the device, in the order of sending
	Last     uint16   // the identifier that was given last
	Received []uint16 // of its QoS 2 publications that it has not released
}

// Packet is a message under way to the device.
type Packet struct {
	Message  uint64 // its ID, in the queue unless it is released
	ID       uint16
	QoS      message.QoS
	Released bool // received by the device: what is left is PUBREL and PUBCOMP
}

// Walk is a place on the way through the retained messages that match a filter.
type Walk struct {
	Filter string // valid; not changed
	Done   bool   // nothing is ahead
	from   string // all before it was looked at; empty at the start
}

// After moves w behind a topic.
func (w *Walk) After(name string) { w.Done, w.from = false, topic.Following(name) }

// Back moves w back to a message that it has found.
func (w *Walk) Back(m *message.Message) { w.Done, w.from = false, strings.Clone(m.Topic) }

// Store is safe from any goroutine; the queues that it gives are not. Its errors are those
// of the medium, unless a method says otherwise.
type Store interface {
	// Queue returns the queue of a device with what it held before, or an empty one. The
	// device's session is the only user, until Close or Drop. The store retains device.
	Queue(device string) (Queue, error)

	// Save keeps r in place of the device's record. It retains r.
	Save(r *Record) error

	// Records yields every record, in no order, until yield returns false. yield may call
	// the store.
	Records(yield func(*Record) bool) error

	// Drop forgets the queue and the record of a device: its session ended.
	Drop(device string) error

	// Retain keeps an owned message in place of its topic's. One without payload, or whose
	// time is over, only removes (MQTT 5 §3.3.1.3). A *RetainedFull says which bound would be
	// passed; nothing was changed.
	Retain(m *message.Message, now time.Time) error

	// Unretain removes a message that Retained has found, unless another has taken its place, and
	// reports whether it has.
	Unretain(m *message.Message) (removed bool, err error)

	// Retained goes on with w: it appends to found, up to its capacity, the retained messages
	// that match and whose time is not over, in the order of topic.Compare, looks at no more than
	// looks messages and returns how many they were. It moves w behind them. What is retained
	// meanwhile is found if its topic is still ahead.
	Retained(w *Walk, found []*message.Message, looks int, now time.Time) (_ []*message.Message, looked int, err error)

	Close() error
}
