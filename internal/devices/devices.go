// Package devices has the values and errors by which a caller on any node asks about devices and sends requests to them.
// It has no connections and no locks, so that another node can answer too.
package devices

import (
	"errors"
	"net/netip"
	"time"

	"github.com/longline/longline/internal/ledger"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// Why a call may fail. ErrUnknown is the error of every request about one device.
var (
	ErrUnknown      = errors.New("the device has no session")
	ErrOffline      = errors.New("the device is not connected")
	ErrNotCallable  = errors.New("the device's protocol does not support calls")
	ErrTooManyCalls = errors.New("too many calls to the device are unanswered")
	ErrLost         = errors.New("the device's connection ended before it answered")
	ErrNoAnswer     = errors.New("the device did not answer in time")
)

// State selects devices in a listing.
type State uint8

// The states.
const (
	AnyState State = iota
	Online
	Away
)

// Page selects devices: at most Limit after After, in the order of their ids.
type Page struct {
	Prefix string // of the ids
	After  string // an id, which need not exist
	State  State
	Limit  int
}

// Info describes a device's session at one moment.
type Info struct {
	Device        string
	Session       string
	Online        bool
	Peer          Peer // zero when the device is away, or its loop did not answer in time
	Created       time.Time
	Changed       time.Time     // time of the last connect or disconnect
	Expiry        time.Duration // how long the session outlives a connection
	Subscriptions []topic.Subscription
	Queued        int // messages in the queue
	QueuedBytes   int
	InFlight      int // of Queued: sent and not acknowledged
	Waiting       int // QoS 1 messages that wait for room in the queue
	Traffic       Traffic
}

// LedgerPage selects accounts of devices: at most Limit after After, in the order of their ids.
type LedgerPage struct {
	Prefix     string // of the ids
	After      string // an id, which need not exist
	Unbalanced bool   // only those that do not balance
	Limit      int
}

// Ledger accounts for the messages of a device's session, in this life of the node.
type Ledger struct {
	Device    string
	Session   string
	Online    bool
	Receiver  ledger.Receiver  // what was sent to the device
	Publisher ledger.Publisher // what the device published
}

// Balances reports whether both accounts do.
func (l *Ledger) Balances() bool {
	return l.Receiver.Difference() == 0 && l.Publisher.Difference() == 0
}

// Peer is the address and the protocol of a connection.
type Peer struct {
	Addr     netip.AddrPort
	Protocol string
}

// Traffic counts a session's messages and their payload bytes.
type Traffic struct {
	UplinkMessages, UplinkBytes     uint64
	DownlinkMessages, DownlinkBytes uint64
}

// Call is a request to a device. Nobody may change the payload any more.
type Call struct {
	Method      string
	Payload     []byte
	ContentType string
}

// Reply answers a call.
type Reply struct {
	Payload     []byte
	ContentType string
	Err         wire.Error // its Code is empty when the call succeeded
}
