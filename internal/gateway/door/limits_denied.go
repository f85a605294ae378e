package door

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/session"
)

// Denied is why a limit refuses a connection, and when the device may try again.
type Denied struct {
	label  string // for metrics
	reason string
	Kind   Denial
	after  time.Duration
}

// Denial is the kind of a Denied; protocols have codes for the kinds.
type Denial uint8

const (
	NodeFull Denial = iota // the node is full
	Quota                  // this device, address or credential has as many as it may
	Rate                   // too many devices connect at once
	Busy                   // the node is short of memory
)

func (d *Denied) Error() string { return d.reason }

// retryTime returns when to try again after a limit that does not say when there is room: spread, so that devices do
// not return as one wave.
func retryTime() time.Duration { return 5*time.Second + rand.N(10*time.Second) }

// Labels of denials that have no limit.Refusal.
const (
	labelRate       = "connect_rate"         // the line is full
	labelRateTime   = "connect_rate_timeout" // the turn did not come within the handshake's time
	labelMemory     = "memory"
	labelCredential = "credential_sessions" // or bytes of wills
	labelUnverified = "unverified_bytes"    // of all unfinished handshakes
)

// deny returns what err means for a connection, or nil if no limit refuses it.
func deny(err error) *Denied {
	var no *Denied
	var busy *limit.Busy
	var full *limit.Refusal
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, session.ErrCredentialFull):
		return &Denied{labelCredential, err.Error(), Quota, retryTime()}
	case errors.As(err, &busy):
		return &Denied{labelRate, "too many devices connect at once", Rate, busy.RetryAfter}
	case !errors.As(err, &full):
		return nil
	case full == limit.NodeFull:
		return &Denied{full.Label, full.Reason, NodeFull, retryTime()}
	}
	return &Denied{full.Label, full.Reason, Quota, retryTime()}
}

func denyForMemory() *Denied {
	return &Denied{labelMemory, "the node is short of memory", Busy, retryTime()}
}

func denyForHandshakes() *Denied {
	return &Denied{labelUnverified, "the unfinished handshakes take too much memory", Busy, retryTime()}
}

func denyForTime() *Denied {
	return &Denied{labelRateTime, "too many devices connect at once: the turn of this one did not come in time", Rate, retryTime()}
}

// RetryAfter returns when to try again, in whole seconds.
func (d *Denied) RetryAfter() string {
	return strconv.Itoa(int((d.after + time.Second - 1) / time.Second))
}

// count counts a denial.
func (s *Shard) count(d *Denied) *Denied {
	s.Refusals[d.label]++
	return d
}

// RefusalLabels are the labels of all denials.
var RefusalLabels = []string{
	limit.NodeFull.Label, limit.AddressFull.Label, limit.PrefixFull.Label, labelRate, labelRateTime, labelMemory, labelUnverified, labelCredential,
	session.PrefixSessionsFull.Label, session.PrefixWillsFull.Label,
}
