package session

import (
	"errors"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
)

// Owners says, in a cluster, which node has the session of a device. Config.Owners is nil on a node without a cluster: it has all
// sessions. The manager calls the methods from any goroutine, also on loops: they must not block. Those for which it says so are called
// with locks held, and must not call the manager before they return.
type Owners interface {
	// Claim makes this node the owner of a device. done is called once, from any goroutine, without locks, perhaps before Claim returns.
	// If another node had the device, the store holds what it has of the device before that. If this node had it earlier and has not
	// heard of the loss, Manager.Lose is called first. An error refuses the connection. The manager has one call of Claim per device
	// under way, and Ended comes into force before a later Claim.
	Claim(device string, done func(Claim, error))

	// Moved says that the session of a claim with From is there, and its subscriptions are in the router. Owners announces them, and calls
	// Manager.Settle with the position of the announcement, before any item of the bus that was sent at this position or later is delivered
	// on this node. Then it tells From. Called with locks held.
	Moved(device string, c Claim)

	// Ended says that this node has no session of a device that it has claimed: it has ended, after Store.Drop, or none was made. Called with
	// locks held.
	Ended(device string, epoch uint64)

	// Forward sends a message to a device at another node: what came for a session that has moved there. c is told later when the bus has
	// it, or why not; it is nil if q is 0 or nobody waits for an answer. m.At stays as it is: the receiver decides by it. Called with locks
	// held.
	Forward(device, to string, m *message.Message, q message.QoS, c *router.Claim)

	// AskReceived asks the owner before of a device whether the publication of QoS 2 with a packet identifier is routed
	// (Manager.Received). epoch is that of the claim here. done is called once, from any goroutine, without locks, within a bounded time; never before AskReceived
	// returns. An error says that nobody knows. Called with locks held.
	AskReceived(device, from string, epoch uint64, id uint16, done func(received bool, err error))

	// Lives reports whether an owner is there, as far as is known: it passes on what comes for a session that it has lost. Called with locks
	// held.
	Lives(owner string) bool

	// Held reports whether the node's lease is valid now.
	Held() bool

	// WhenHeld calls f once, from any goroutine, without locks, never before WhenHeld returns: when the lease is valid, or with an error
	// when it never will be, because the node ends or a newer life of it began.
	WhenHeld(f func(error))
}

// Claim is what Owners knows of a device that this node owns now. If From is not empty, the store holds the device's state from now on;
// otherwise this node had the device before, or nobody has.
type Claim struct {
	Epoch uint64
	From  string // the owner before, name/life; empty if this node was, or nobody
	Found bool   // with From: the store has a record; otherwise the session ended with its connection

	// Before are owners before From, newest first, a few. What is in their inboxes when they die may be for the session.
	Before []string

	// Orphans are what From had on its way, by their keys: see SpaceOrphan. If it lives, it takes care of them itself.
	Orphans map[string][]byte
}

// Move says that another node has a device.
type Move struct {
	To    string // the new owner, name/life
	Epoch uint64 // above that of the claim that was lost, and not above that of the new one; a session with a higher one stays
	Since uint64 // what Manager.Settle told the new session; 0 while that is not known

	Connected bool // the device is known to have a connection at the new owner
}

// ErrNotHere is what Manager.DeliverTo returns if this node has no session of the device.
var ErrNotHere = errors.New("this node does not have the device")

// ErrNotClaimed refuses a connection because this node cannot become the owner of the device now.
var ErrNotClaimed = errors.New("the cluster cannot give the device to this node now")

// ErrNotHeld refuses a publication because the lease of the node has ended, so that others may take its devices.
var ErrNotHeld = errors.New("the node has lost contact with its cluster")
