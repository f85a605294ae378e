// Package store keeps what outlives a connection: the messages for a device, the record of its session, and the
// retained messages.
package store

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

var (
	// ErrFull says that the change would pass a bound; nothing was changed.
	ErrFull = errors.New("store: full")
	// ErrTooLarge says that the message alone is larger than the bound in bytes.
	ErrTooLarge = errors.New("store: message larger than the store may hold")
	// ErrNoRoom is wrapped by Store.Err when the store takes changes, above all those that make room, and no message that would
	// have to be kept: because of store.max_bytes or store.reserve.
	ErrNoRoom = errors.New("no room")
)

// Options are the bounds of a store. The zero value has the defaults.
type Options struct {
	Path       string           `yaml:"path" help:"directory in which what is kept survives the process, synced before it is acknowledged; left out, it is in memory alone"`
	SecondPath string           `yaml:"second_path" help:"directory on another disk, in which the journal goes on while a sync in path takes longer than stall, or fails"`
	Stall      time.Duration    `yaml:"stall" help:"how long a sync may take before the journal goes on in second_path"`
	MaxBytes   int              `yaml:"max_bytes" unit:"bytes" help:"bytes of files in path and second_path, without streams; messages that would have to be kept are refused from seven eighths on; at least 1GiB; left out, the disk is the bound"`
	Reserve    int              `yaml:"reserve" unit:"bytes" help:"free bytes of the file system of path below which messages that would have to be kept are refused; what makes room may use half of it"`
	Queue      Limits           `yaml:"queue" help:"queue of messages for one device"`
	Account    *message.Account `yaml:"-"` // counts the kept messages; nil has no bound
	Retained   RetainedLimits   `yaml:"retained" help:"retained messages of all topics"`

	RetainedLog RetainedLog `yaml:"-"` // of a cluster; nil if the retained messages are this node's alone
}

// Limits bound one queue. Zero fields mean the defaults.
type Limits struct {
	Count int           `yaml:"count" help:"messages, including those in flight"`
	Bytes int           `yaml:"bytes" unit:"bytes" help:"sum of topics, payloads and properties"`
	Age   time.Duration `yaml:"age" help:"how long a message may wait to be sent"`
}

// RetainedLimits bound the retained messages. Zero fields mean the defaults.
type RetainedLimits struct {
	Count int `yaml:"count" help:"messages"`
	Bytes int `yaml:"bytes" unit:"bytes" help:"sum of topics, payloads and properties, also of what is on disk alone"`

	InMemory int `yaml:"in_memory" unit:"bytes" help:"with store.path, a message with more bytes of payload and properties is on disk alone, and read when it has to be sent"`

	PerDevice int      `yaml:"per_device" help:"percent of count and of bytes for the messages of one device"`
	PerPrefix []string `yaml:"per_prefix" help:"percent of count and of bytes for the messages of all devices whose id begins with a prefix; each as prefix=percent such as demo-=5; the longest prefix counts"`
}

// WithDefaults returns o with the defaults in place of zero fields.
func (o Options) WithDefaults() Options {
	o.Stall = orDefault(o.Stall, 500*time.Millisecond)
	o.Reserve = orDefault(o.Reserve, 512<<20)
	q, r := &o.Queue, &o.Retained
	q.Count, q.Bytes = orDefault(q.Count, 1000), orDefault(q.Bytes, 1<<20)
	q.Age = orDefault(q.Age, 24*time.Hour)
	r.Count, r.Bytes = orDefault(r.Count, 1_000_000), orDefault(r.Bytes, 256<<20)
	r.InMemory = orDefault(r.InMemory, defaultInMemory)
	r.PerDevice = orDefault(r.PerDevice, 10)
	return o
}

func orDefault[T int | time.Duration](v, normal T) T {
	if v <= 0 {
		return normal
	}
	return v
}

// Queue holds the messages for a device, oldest first: those in flight, which were sent and wait for their
// acknowledgement, then the unsent ones.
//
// A queue is not safe for concurrent use: the session's lock guards it. Messages are owned, never changed, and may be
// in many queues. No method blocks.
type Queue interface {
	Packets
	Pages

	// Push appends a message, to be sent with QoS q. If it would pass a bound even after expired messages are
	// discarded, Push returns ErrFull, or ErrTooLarge.
	Push(m *message.Message, q message.QoS, now time.Time) error

	// Check returns the error that Push would return for a message of a size.
	Check(size int, now time.Time) error

	// Conflate replaces by m, to be sent with QoS 0, the unsent message of its topic that the last Conflate has
	// queued, and returns that as old. If there is none, or Push has queued another message of the topic since, it
	// pushes m and old is nil. An error changes nothing.
	Conflate(m *message.Message, now time.Time) (old *message.Message, err error)

	// Next takes the oldest unsent message that has not expired: one of QoS 0 leaves the queue, any other is in flight
	// from now on. It discards the expired messages before it. A message of QoS 2 does not expire by its own Expiry
	// once it was sent [MQTT-4.3.3-7]. Next returns none if a message that has to be read is the oldest, see NextPage.
	Next(now time.Time) (m *message.Message, q message.QoS, ok bool)

	// TakeExpired returns how many messages were discarded since its last call because they expired: by their own
	// Expiry, or Limits.Age after Push.
	TakeExpired() int

	// Ack removes the message in flight that has the ID; if two have it, the older one. It takes constant time if that
	// is the oldest in flight. It returns false if there is none: the message was acknowledged before, never sent, or
	// not sent again since Rewind.
	Ack(id uint64) bool

	// Oldest returns when the oldest message in flight, or the oldest unanswered PUBREL, was sent, in whole seconds.
	// ok is false if there is none.
	Oldest() (sent time.Time, ok bool)

	// Rewind makes all messages in flight unsent again, in their order, before the others, and makes NextRelease
	// return all identifiers again: the device has a new connection.
	Rewind()

	// DropOldest removes the oldest unsent message. m is nil if that was on the medium alone.
	DropOldest() (m *message.Message, ok bool)

	// DropOldestQoS0 removes the oldest unsent message of QoS 0.
	DropOldestQoS0() (m *message.Message, ok bool)

	// ShedQoS0 removes all unsent messages of QoS 0 and returns how many there were.
	ShedQoS0() int

	// Remove removes the unsent messages for which want returns true, and returns how many. It asks for them in order.
	// It may discard expired messages first, for which it does not ask; nor does it ask for messages of QoS 2 with an
	// identifier, which the device may have received, nor for those that are on the medium alone, see SharedPage.
	//
	// If want returns a key and the message is durable, the store keeps its record in SpaceOrphan under that key, in one change with the
	// removal: until a durable queue gets a message whose Delivery names the key, in one change with that Push, or until Put
	// removes it.
	Remove(want func(m *message.Message, q message.QoS) (orphan string, remove bool), now time.Time) int

	Len() int      // messages
	Bytes() int    // sum of their sizes, see message.Message.Size
	InFlight() int // messages in flight

	// Durable reports whether the contents are durable, see Store.Queue.
	Durable() bool

	// Empty reports whether the queue holds neither messages nor identifiers.
	Empty() bool

	// Close returns the queue to the store, and the session does not use it again. The store forgets an empty queue
	// and keeps the contents of any other.
	Close()
}

// Pages is the part of a queue whose messages need not be in memory, because the store can read them from its medium: messages of
// QoS 1 and 2 of a device that has a record. In any other queue all messages are in memory.
type Pages interface {
	// Unload lets go of unsent messages that the medium has, UnloadAtOnce of them at most. It keeps the first keep of the unsent ones, and if
	// keep is not 0 also those that have an identifier. It reports whether the caller has to come again: messages are left of which
	// the medium does not know yet, or there are more. Those that the queue has let go of count as before, but in no Account.
	Unload(keep int) (again bool)

	// InMemory returns how many messages are in memory.
	InMemory() int

	// NextPage returns the messages to be read next if at most low messages that were never sent come before them; else, and
	// if none are on the medium alone, nil. Before a device with identifiers is sent anything, and before ForgetPackets, the caller
	// loads such pages until NextPage(0) is nil.
	NextPage(low int) *Page

	// SharedPage returns all messages that came by shared subscriptions and are on the medium alone, or nil.
	SharedPage() *Page

	// Load puts the messages of a page that was read back into the queue, as far as they are still in it. It removes those that the
	// medium does not have any more, because it was spoilt, and returns how many.
	Load(p *Page) (lost int)
}

// Packets is the part of a queue for a protocol with packet identifiers: MQTT. An identifier belongs to a message from
// its first sending until the device's last acknowledgement, over any number of connections, so that the message is
// sent again with the same one [MQTT-4.4.0-1].
//
// PUBLISH of QoS 1: in flight -> PUBACK, gone.
//
// PUBLISH of QoS 2: in flight -> PUBREC -> to be released -> PUBCOMP, gone.
//
// A message of QoS 2 that expires or is dropped after it was sent may have been received. The device would take
// another message with its identifier for a repetition. So the identifier is to be released, as after a PUBREC.
type Packets interface {
	// NextPacket is Next. It assigns to a message of QoS 1 or 2 without an identifier the next one after last that is
	// free [MQTT-2.2.1-4].
	NextPacket(now time.Time, last uint16) (p Packet, ok bool)

	// Acked handles PUBACK: it removes the message in flight that has the identifier and returns its ID, or 0 if there
	// is none.
	Acked(id uint16) (m uint64, err error)

	// Received handles PUBREC: the message in flight leaves the queue, and its identifier is to be released, or free
	// if the device refused the message. m is the ID of the message, 0 if it left before. found reports whether the
	// identifier is known on this connection.
	Received(id uint16, refused bool, now time.Time) (m uint64, found bool, err error)

	// Completed handles PUBCOMP: the identifier is free. It reports whether the identifier was to be released.
	Completed(id uint16) (freed bool, err error)

	// NextRelease returns an identifier for which PUBREL was not sent on this connection, in the order of PUBREC
	// [MQTT-4.6.0-4].
	NextRelease(now time.Time) (id uint16, ok bool)

	// ForgetPackets frees all identifiers, because the device speaks a protocol without them now. No message is in
	// flight.
	ForgetPackets()

	// Open returns how much of the device's Receive Maximum is used, MQTT 5 §4.9: messages in flight, and identifiers
	// to be released.
	Open() int
}

// Packet is a message to be sent.
type Packet struct {
	Message *message.Message
	QoS     message.QoS
	ID      uint16 // 0 with QoS 0
	Again   bool   // it was sent on another connection before
}

// ErrNotDue says that an acknowledgement is for a message of another QoS, or comes too early.
var ErrNotDue = errors.New("store: the acknowledgement does not match the state of its packet identifier")

// Record is what the store keeps of a session, so that it can be made again. Its subscriptions do not change after Save: a changed
// session saves a new list.
type Record struct {
	Device        string
	Session       uint64
	Expiry        time.Duration // how long the session outlives its connection
	Left          int64         // Unix milliseconds when the device left; 0 if it was connected when the record was made
	Missed        uint64        // messages that were dropped while the device was away
	Subscriptions []topic.Subscription
	Will          *Will // nil when there is none

	// Received are the packet identifiers of the device's QoS 2 publications that it has not released, in
	// ascending order. Receive and Release change them; Save ignores them.
	Received []uint16
}

// Will is a message that is published when a connection of the device ends without DISCONNECT, MQTT 5 §3.1.2.5. It
// does not change.
type Will struct {
	Message *message.Message // owned; the session sets Source, Time and Expiry when it publishes the message
	Delay   time.Duration    // from the end of the connection until it is published; the end of the session comes first
	Expiry  time.Duration    // of the message, from its publication; 0 means never
}

// Space names the owner of values, see Store.Put.
type Space uint8

// The spaces. A number is never reused for another one.
const (
	SpacePlace   Space = 1 // up to where consumers have read streams
	SpaceCommand Space = 2 // commands to devices
	SpaceLedger  Space = 3 // what became of messages in the lives of the node before
	SpaceOrphan  Space = 4 // messages between two receivers, and wills that are due
	SpaceSink    Space = 5 // what sinks were told: paused
	SpaceSelf    Space = 6 // the gateway's identity
)

// OrphanKey returns the key in SpaceOrphan for a message with an ID that has left the queue of a device, which has it by a share.
func OrphanKey(id uint64, device, share string) string {
	return fmt.Sprintf("%014x %s %s", id, device, share)
}

// OrphanHome returns the device of a key of OrphanKey; empty for another key.
func OrphanHome(key string) (device string) {
	_, rest, _ := strings.Cut(key, " ")
	device, _, _ = strings.Cut(rest, " ")
	return device
}

// Walk is a position in the retained messages that match a filter.
type Walk struct {
	Filter string // valid; not changed
	Newest uint64 // passes over messages that were retained after the one with this number, see Store.NewestRetained; 0 passes over none
	Done   bool   // it is behind the last message

	// MissedAt makes w pass over all other messages: it finds those after Newest that another node has retained, whose publication looked for receivers (Message.At)
	// before this position. 0 does not.
	MissedAt uint64

	from string // the topic to continue with; empty at the start
}

// After moves w behind a topic.
func (w *Walk) After(name string) { w.Done, w.from = false, topic.Following(name) }

// Back moves w back to k, which it has found.
func (w *Walk) Back(k Kept) { w.Done, w.from = false, strings.Clone(k.Topic) }

// Store is what sessions and the router use: state in memory, which changes at once. No method blocks or does I/O, so
// each may be called on a loop and with locks held. The methods are safe from any goroutine, except that the methods
// for one device are called by its session alone, under its lock; so are the methods of its Queue.
//
// A durable store keeps what it was given across a restart of the process once a fence has passed, see Commit.
type Store interface {
	// Queue returns the queue of a device with its contents, or an empty one. Only the session of the device uses it,
	// until Close or Drop. The store keeps the string device.
	//
	// The contents of a queue are durable if the device has a record, except for messages of QoS 0.
	Queue(device string) Queue

	// Save replaces the device's record by what r says. The store keeps the list of subscriptions.
	Save(r *Record)

	// Drop removes the queue and the record of a device, because its session has ended.
	Drop(device string)

	// Record returns the record of a device as the store has it, or nil. Its list of subscriptions must not be changed.
	Record(device string) *Record

	// Forget removes the queue and the record of a device from memory, because another node has the device now. Nothing is written.
	Forget(device string)

	// Receive notes the packet identifier of a QoS 2 publication of a device that has a record.
	Receive(device string, id uint16)

	// Release undoes Receive for one identifier, or for all if id is 0.
	Release(device string, id uint16)

	// Put replaces the value of a key by value, which is borrowed; nil removes it. What the value means is its space's
	// owner's business. In a store that is not durable, Put does nothing.
	Put(space Space, key string, value []byte)

	// PutFor is Put for a value that belongs to a device. Where sessions move between nodes, it moves with the device's.
	PutFor(device string, space Space, key string, value []byte)

	// Retain replaces the retained message of m's topic by m, which is owned. If m has no payload or has expired, it
	// only removes (MQTT 5 §3.3.1.3). The error is a *RetainedFull, which names the bound that m would pass; then
	// nothing was changed.
	Retain(m *message.Message, now time.Time) error

	// Unretain removes a message that Retained has found, unless it was replaced since, and reports whether it did.
	Unretain(k Kept) (removed bool)

	// Retained continues w: it appends to found, up to its capacity, the retained messages that match and have not
	// expired, in the order of topic.Compare. It looks at no more than looks messages, returns how many they were, and
	// moves w behind them. A message that is retained meanwhile is found if its topic is behind w.
	Retained(w *Walk, found []Kept, looks int, now time.Time) (_ []Kept, looked int)

	// LoadRetained looks at a page of retained messages that was read. It removes from the page those that are not retained any more, or
	// were replaced since they were found. It unretains those that the medium does not have any more, because it was spoilt, and
	// returns how many. What could not be read, see Page.Failed, stays retained.
	LoadRetained(p *Page) (lost int)

	// NewestRetained returns the number of the message that was retained last. Each one gets a higher number than those
	// before; the numbers begin anew when the store is opened. It is at least 1.
	NewestRetained() uint64

	// Durable reports whether the store keeps its state across a restart of the process. It never changes. If it is
	// false, Save is useless, and Commit answers at once.
	Durable() bool

	// Commit is the fence: the store calls done once, when everything that it was given before is safe on its medium,
	// or with the error that prevents that. A durable store calls done later, from any goroutine, with no lock held
	// that a user of the store takes: so Commit may be called with locks held. Any other store calls it at once. done
	// must not block.
	Commit(done func(error))

	// Err returns why the store cannot make anything safe at the moment, or with ErrNoRoom no message; nil if it can.
	Err() error
}

// Opener has the methods of a store that may block. They are called at start, at the end, and on workers: never on a
// loop or with a lock held. They are safe from any goroutine.
type Opener interface {
	// Read reads the messages of a page. If some of a page of retained messages cannot be read, it reads the others, and returns nil.
	Read(p *Page) error

	// Records yields every record, in no order, until yield returns false. yield may call the store.
	Records(yield func(*Record) bool) error

	// TakeValues returns the values of a space by their keys, as they were when the store was opened. The store forgets
	// them: a second call returns none.
	TakeValues(space Space) (map[string][]byte, error)

	// Close makes safe what the store was given, and releases the medium.
	Close() error
}
