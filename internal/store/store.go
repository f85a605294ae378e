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
// owned, never changed, and may be in many queues. No method blocks.
type Queue interface {
	Packets

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
	// subject to its own Expiry any more once it was given [MQTT-4.3.3-7]. The store has opened
	// the device's queue.
	Next(now time.Time) (m *message.Message, q message.QoS, ok bool)

	// TakeExpired returns how many messages were discarded because their time was over,
	// their own Expiry or Limits.Age after Push, since it was last called.
	TakeExpired() int

	// Ack removes the message in flight that has the id, the older one of two, in constant
	// time when it is the oldest of all. It is false when none has it: acknowledged twice,
	// never sent, or sent before a Rewind and not again.
	Ack(id uint64) bool

	// Oldest returns when the oldest message in flight, or the oldest PUBREL that is not
	// answered, was sent, to the second. ok is false when there is none.
	Oldest() (sent time.Time, ok bool)

	// Rewind makes all in flight unsent again, in their order before the others, and has all
	// identifiers to be released given again: the device has a new connection.
	Rewind()

	// DropOldest removes the oldest unsent message.
	DropOldest() (m *message.Message, ok bool)

	// DropOldestQoS0 removes the oldest unsent message of QoS 0.
	DropOldestQoS0() (m *message.Message, ok bool)

	// ShedQoS0 removes all unsent messages of QoS 0 and returns how many there were.
	ShedQoS0() int

	// Remove removes the unsent messages that want wants, asked in their order and without those
	// whose time is over, which it may discard. It returns how many there were. It does not ask for
	// messages of QoS 2 that have an identifier: the device may have received them.
	Remove(want func(m *message.Message, q message.QoS) bool, now time.Time) int

	Len() int      // messages
	Bytes() int    // sum of their message.Size
	InFlight() int // messages in flight

	// Empty reports whether the queue holds neither messages nor identifiers.
	Empty() bool

	// Close says that the session lets go of the queue and will not use it again. The
	// store forgets an empty queue and keeps the contents of any other.
	Close()
}

// Packets is the part of a queue that a protocol with packet identifiers uses: MQTT. An
// identifier belongs to a message from its first sending until the device's last word, over any number of
// connections, so that a message is sent again under the same one [MQTT-4.4.0-1].
//
//	PUBLISH of QoS 1:  in flight -> PUBACK, gone
//	PUBLISH of QoS 2:  in flight -> PUBREC -> to be released -> PUBCOMP, gone
//
// A message of QoS 2 that expires or is dropped after it was sent may have been received. The device would
// take another message with its identifier for a repetition, so the identifier is to be released
// as if PUBREC had come.
type Packets interface {
	// NextPacket is Next, and gives a message of QoS 1 or 2 that has no identifier the next one after
	// last that is not in use [MQTT-2.2.1-4].
	NextPacket(now time.Time, last uint16) (p Packet, ok bool)

	// Acked is for PUBACK: it removes the message in flight that has the identifier and returns its ID, or 0 when
	// there is none.
	Acked(id uint16) (m uint64, err error)

	// Received is for PUBREC: the message in flight leaves the queue, and its identifier is to be released,
	// or is free if the device refused the message. m is the ID of the message, 0 when it has left before; found reports
	// whether the identifier is known on this connection.
	Received(id uint16, refused bool, now time.Time) (m uint64, found bool, err error)

	// Completed is for PUBCOMP: the identifier is free. It reports whether it was to be released.
	Completed(id uint16) (freed bool, err error)

	// NextRelease returns an identifier for which PUBREL has not been sent on this connection, in the
	// order in which PUBREC came [MQTT-4.6.0-4].
	NextRelease(now time.Time) (id uint16, ok bool)

	// ForgetPackets frees all identifiers: the device has changed to a protocol without. Nothing is in
	// flight.
	ForgetPackets()

	// Open is how many of the device's Receive Maximum are taken, MQTT 5 §4.9: messages in flight and
	// identifiers to be released.
	Open() int
}

// Packet is a message to be sent.
type Packet struct {
	Message *message.Message
	QoS     message.QoS
	ID      uint16 // 0 with QoS 0
	Again   bool   // it was sent before, on another connection
}

// ErrNotDue says that an acknowledgement answers a message of another QoS, or comes too early.
var ErrNotDue = errors.New("store: the acknowledgement is not the one that is due")

// Record is what a session is made again from. It is not changed after Save: a changed record
// is a new one.
type Record struct {
	Device        string
	Session       uint64
	Expiry        time.Duration // how long the session outlives its connection
	Left          int64         // Unix milliseconds at which its last connection ended; 0 while one lives
	Missed        uint64        // messages lost while the device was away
	Subscriptions []topic.Subscription
	Will          *Will // to be published; nil when there is none

	// Received are the packet identifiers of the device's QoS 2 publications that it has not released, in
	// ascending order. Receive and Release change them; Save does not look at them.
	Received []uint16
}

// Will is a message that is published when a connection of the device ends without a word,
// MQTT 5 §3.1.2.5. It is not changed.
type Will struct {
	Message *message.Message // owned; its Source, Time and Expiry are set when it is published
	Delay   time.Duration    // from the end of the connection, if the session lives so long
	Expiry  time.Duration    // of the message, from its publication; 0 is never
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

// Store is what sessions and the router see: state in memory, changed at once. No method blocks or does
// I/O, so each may be called on a loop and with locks held. They are safe from any goroutine, but what is one
// device's is called by its session alone, under its lock; so are the queues.
//
// What a durable store was told outlives the process once a fence has passed, see Commit.
type Store interface {
	// Queue returns the queue of a device with what it held before, or an empty one. The
	// device's session is the only user, until Close or Drop. The store retains device.
	//
	// What a queue holds is durable if the device has a record, except for messages of QoS 0.
	Queue(device string) Queue

	// Opened reports whether the device's queue is ready for Next. If not, Opener.Open makes it so. It is always
	// true for a device that has no record.
	Opened(device string) bool

	// Save keeps r in place of the device's record. It retains r.
	Save(r *Record)

	// Drop forgets the queue and the record of a device: its session ended.
	Drop(device string)

	// Receive notes the packet identifier of a QoS 2 publication of a device that has a record, until Release.
	Receive(device string, id uint16)

	// Release undoes Receive: for one identifier, or for all if it is 0.
	Release(device string, id uint16)

	// Retain keeps an owned message in place of its topic's. One without payload, or whose
	// time is over, only removes (MQTT 5 §3.3.1.3). The error is a *RetainedFull, which says which
	// bound would be passed; then nothing was changed.
	Retain(m *message.Message, now time.Time) error

	// Unretain removes a message that Retained has found, unless another has taken its place, and
	// reports whether it has.
	Unretain(m *message.Message) (removed bool)

	// Retained goes on with w: it appends to found, up to its capacity, the retained messages
	// that match and whose time is not over, in the order of topic.Compare, looks at no more than
	// looks messages and returns how many they were. It moves w behind them. What is retained
	// meanwhile is found if its topic is still ahead.
	Retained(w *Walk, found []*message.Message, looks int, now time.Time) (_ []*message.Message, looked int)

	// Durable reports whether what the store is told outlives the process. It never changes. If it is false, there is
	// no use in Save, and Commit answers at once.
	Durable() bool

	// Commit is the fence: done is told once, when all that was handed in before is safe, or with an error
	// that says why it cannot be made so. A durable store tells it later, from any goroutine, with no lock held
	// that a user of the store takes: Commit may be called with locks held. One that is not durable tells it at once. done must
	// not block.
	Commit(done func(error))

	// Err is why the store cannot make anything safe at the moment; nil if it can.
	Err() error
}

// Opener is what may block in a store. It is called at start, at the end, and on workers: never on a loop or with a
// lock held. Its methods are safe from any goroutine.
type Opener interface {
	// Open makes the device's queue ready for Next.
	Open(device string) error

	// Records yields every record, in no order, until yield returns false. yield may call
	// the store.
	Records(yield func(*Record) bool) error

	// Close makes safe what was handed in, and lets go of the medium.
	Close() error
}
