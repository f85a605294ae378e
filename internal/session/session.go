// Package session is what belongs to a device and outlives its connections: identity,
// subscriptions, the queue of messages it is owed, the calls it has to answer, and what only
// MQTT has: packet identifiers and a will.
//
// The flow: the gateway authenticates a connection and attaches it (Manager.Attach); from
// then on the connection's Link handles what the device sends and takes what is owed to
// it. When the connection ends, the Link is detached and the session waits, until the
// device comes back or the session expires.
//
// Any goroutine may deliver to a session, so a session has one lock. What is delivered
// goes through the session's queue and leaves on the loop of the connection of the day:
// the order of one publisher on one topic survives a change of connection. So does the
// order of what the device publishes, by a lock of its own.
package session

import (
	"strconv"
	"sync"
	"time"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Session is one device's. It is made by Manager.Attach.
//
// Locks are taken in the order Manager.mu, uplink, mu.
type Session struct {
	// Static after construction.
	manager *Manager
	device  string
	id      uint64
	created uint32 // Unix seconds
	owner   uint32 // its credential's place among the owners; guarded by mu

	// link is the live connection, nil while the device is away. It is changed with uplink
	// and mu held; either is enough to read it.
	link *Link

	// Guarded by uplink, which is held while a publication of the device is routed: a
	// takeover comes before it or after it.
	uplink  sync.Mutex
	traffic devices.Traffic // its downlink part is guarded by mu

	// Guarded by mu.
	mu            sync.Mutex
	changed       int64  // Unix milliseconds of the last connect or disconnect
	expiry        uint32 // seconds that the session outlives a connection
	missed        uint32 // messages lost to the bounds while the device was away
	woken         bool   // the loop has been asked to flush and has not yet
	ended         bool
	lingers       bool                 // the manager will look whether the queue is empty
	special       bool                 // a subscription is: see tailor
	place         int32                // in the expirer's line, from 1; 0 when not there. Guarded by its lock
	subscriptions []topic.Subscription // copied on change: the store and listings share it
	next          *message.Message     // a lone QoS 0 message, older than all unsent in queue, and in no bound of it
	queue         store.Queue          // nil when nothing was owed for a while
	waiting       *router.Waiting      // QoS 1 and 2 messages that the queue has no room for; nil when there are none
	calls         map[uint64]chan<- reply
	mqtt          *mqtt // nil when there is nothing that only MQTT has
}

// Device is the device's id.
func (s *Session) Device() string { return s.device }

// ID names the session; a device whose session was dropped gets another.
func (s *Session) ID() string { return sessionID(s.id) }

func sessionID(id uint64) string { return strconv.FormatUint(id, 16) }

// lock is for a change of link, or a view of the whole.
func (s *Session) lock() {
	s.uplink.Lock()
	s.mu.Lock()
}

func (s *Session) unlock() {
	s.mu.Unlock()
	s.uplink.Unlock()
}

// drop counts n messages that are not delivered.
func (s *Session) drop(why router.Drop, n int) { s.manager.router.Drop(nil, s.device, why, n) }

// lose is drop for one message.
func (s *Session) lose(m *message.Message, why router.Drop) {
	s.manager.router.Drop(m, s.device, why, 1)
}

// seconds is a time in Unix seconds.
func seconds(t time.Time) uint32 { return uint32(t.Unix()) }
