// Package devices is what can be known of devices and asked of them by whoever is not their node: values and
// errors, without connections or locks, so that another node may answer too.
package devices

import (
	"errors"
	"net/netip"
	"time"

	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// What can keep a call from being answered. The first says it of every request about one device.
var (
	ErrUnknown      = errors.New("no session of this device")
	ErrOffline      = errors.New("the device is not connected")
	ErrNotCallable  = errors.New("the device's protocol has no calls")
	ErrTooManyCalls = errors.New("too many calls of the device are unanswered")
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

// Page selects devices: at most Limit of those behind After, in the order of their ids.
type Page struct {
	Prefix string // of their ids
	After  string // an id, which need not be there
	State  State
	Limit  int
}

// Info describes a device's session at one moment.
type Info struct {
	Device        string
	Session       string
	Online        bool
	Peer          Peer // zero when it is away, or was not learnt in time
	Created       time.Time
	Changed       time.Time     // of the last connect or disconnect
	Expiry        time.Duration // that the session outlives a connection
	Subscriptions []topic.Subscription
	Queued        int // messages owed
	QueuedBytes   int
	InFlight      int // of those, sent and not acknowledged
	Waiting       int // QoS 1 messages that wait for room
	Traffic       Traffic
}

// Peer is where a connection comes from, and what it speaks.
type Peer struct {
	Addr     netip.AddrPort
	Protocol string
}

// Traffic counts a session's messages and their payload bytes.
type Traffic struct {
	UplinkMessages, UplinkBytes     uint64
	DownlinkMessages, DownlinkBytes uint64
}

// Call asks a device to do something. The payload must not change any more.
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
