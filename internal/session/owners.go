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
	// Claim makes this node the owner of a device. done is called once, from any goroutine, without locks, never before Claim returns.
	// If another node had the device, the store holds what it has of the device before that. An error refuses the connection; one that
	// wraps ErrTakenOver says that yet another node has the device now.
	//
	// A claim that was made while the directory cannot be reached has the epoch 0; Manager.Raise gives it its epoch later.
	Claim(device string, done func(Claim, error))

	// Moved says that the session of a claim with From is there, and its subscriptions are in the router. Owners announces them, and calls
	// Manager.Settle with the position of the announcement, before any item of the bus that was sent at this position or later is delivered
	// on this node. Then it tells From. Called with locks held.
	Moved(device string, c Claim)

	// Ended says that the session of a claim has ended here, after Store.Drop. Called with locks held.
	Ended(device string, epoch uint64)

	// Forward sends a message to a device at another node: what came for a session that has moved there. c is told later when the bus has
	// it, or why not; it is nil if q is 0 or nobody waits for an answer. m.At stays as it is: the receiver decides by it. Called with locks
	// held.
	Forward(device, to string, m *message.Message, q message.QoS, c *router.Claim)

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
}

// Move says that another node has a device.
type Move struct {
	To    string // the new owner, name/life
	Epoch uint64 // of its claim; a session here with a higher one stays
	Since uint64 // what Manager.Settle told the new session; 0 while that is not known
}

// ErrNotHere is what Manager.DeliverTo and DeliverOwn return if this node has no session of the device.
var ErrNotHere = errors.New("this node does not have the device")

// The rule of Message.At. An item of the bus carries the position in the log of interests up to which its sender had read when it looked
// for receivers; 0 marks a message that was published on this node. Since is a session's position, see Manager.Settle: the highest number while it
// is not known, 0 for a session that has not moved.
//
//   - An item that comes for a session's subscriptions (Deliver) is taken if At is 0, or at least Since and the topic is not in the
//     device's own space: what is for that space comes once, by DeliverOwn.
//   - An item that another node sends on to the device (DeliverTo) is taken if At is 0, or less than Since, or if the topic is in the own space.
//   - What comes by a share is taken in any case: no other receiver has it.
//
// So of the copies for the old and the new owner exactly one counts.
