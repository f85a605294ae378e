// Package session keeps what belongs to a device and outlives its connections: identity, subscriptions, the queue of
// messages for the device, the calls that it has to answer, and what only MQTT has: packet identifiers and a will.
//
// The flow: the gateway authenticates a connection and attaches it (Manager.Attach). From then on the connection's
// Link handles what the device sends and sends it the queued messages. When the connection ends, the gateway detaches
// the Link, and the session waits until the device comes back or the session expires.
//
// Any goroutine may deliver to a session, so a session has one lock. A delivered message goes through the session's
// queue and leaves on the loop of the current connection: so the order of one publisher on one topic survives a change
// of connection. The order of what the device publishes survives it too, by a second lock, uplink.
package session

import (
	"strconv"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Session is the session of one device. Manager.Attach makes it.
//
// Locks are taken in the order Manager.mu, uplink, mu.
type Session struct {
	// Static after construction.
	manager *Manager
	device  string
	id      uint64
	created uint32 // Unix seconds
	owner   uint32 // index of its credential in Manager.owners; guarded by mu

	// link is the live connection, nil while the device is away. It is changed with uplink
	// and mu held; either is enough to read it.
	link *Link

	// Guarded by uplink. route holds it while it routes a publication of the device, so that a takeover comes
	// before the publication or after it.
	uplink     sync.Mutex
	fromDevice *fromDevice // nil until the device publishes

	// Guarded by mu.
	mu            sync.Mutex
	changed       int64  // Unix milliseconds of the last connect or disconnect
	expiry        uint32 // seconds that the session outlives a connection
	missed        uint32 // messages lost to the bounds while the device was away
	woken         wakes  // what the loop was asked to do
	ended         bool
	inEmptyQueues bool                 // it is in Manager.emptyQueues
	special       bool                 // one of the subscriptions is Special: see applyOptions
	serviceCalls  int32                // calls of the device that services have to answer, of all its connections
	place         int32                // in the expirer's heap, from 1; 0 when not there. Guarded by the expirer's lock
	subscriptions []topic.Subscription // copied on change, because the store and listings share it
	next          *message.Message     // a single QoS 0 message, older than all unsent messages in queue; it does not count in the bounds of queue
	queue         store.Queue          // nil when it was empty for a while
	waiting       *router.Waiting      // QoS 1 and 2 messages for which the queue has no room; nil when there are none
	calls         map[uint64]chan<- reply
	mqtt          *mqtt     // nil when the session has nothing that only MQTT needs
	claim         *claimed  // nil on a node that is in no cluster
	toDevice      *toDevice // nil until there is a message for the device
}

// Device returns the ID of the device.
func (s *Session) Device() string { return s.device }

// ID names the session. If the session is dropped, the next session of the device gets another ID.
func (s *Session) ID() string { return sessionID(s.id) }

func sessionID(id uint64) string { return strconv.FormatUint(id, 16) }

// lock takes both locks, for a change of link or for a consistent view of the whole session.
func (s *Session) lock() {
	s.uplink.Lock()
	s.mu.Lock()
}

func (s *Session) unlock() {
	s.mu.Unlock()
	s.uplink.Unlock()
}

// seconds returns t in Unix seconds.
func seconds(t time.Time) uint32 { return uint32(t.Unix()) }
