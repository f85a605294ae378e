package router

import (
	"errors"
	"sync/atomic"

	"github.com/longline/longline/internal/store"
)

// Drop is a reason for which a message was not delivered: a metric's label.
type Drop uint8

// The reasons.
const (
	QueueFull       Drop = iota // a QoS 0 message of a full queue gave way to newer ones, a QoS 1 or 2 one waited too long for room, or too many waited
	Offline                     // a QoS 0 message for a device that is away
	QueueOverflow               // the oldest message of a device that is away, pushed out by a newer one
	Expired                     // it waited longer than its expiry or the queue's age
	SessionEnded                // the session that it waited for has ended
	NotAllowed                  // a message on a topic that its publisher may not use
	Refused                     // a receiver can never take it: larger than its queue, or not to be stored
	BackendTooSlow              // a QoS 0 message met a full backend subscription
	Conflated                   // a newer QoS 0 message of the topic took its place, as the subscription wants
	Shed                        // a QoS 0 message that had to wait while the node was short of memory
	BadTopic                    // its topic has more levels or bytes than the node takes
	TooLarge                    // it was larger than the gateway reads, from a publisher that cannot be told a limit
	Quota                       // the node owed as much as it may: its publisher was refused
	QuotaDevice                 // it owed as much as it may of the device
	QuotaCredential             // it owed as much as it may of the device's credential, or of the backend
	NoIDs                       // the node had no ID for it
	drops
)

var dropLabels = [drops]string{
	QueueFull:       "queue_full",
	Offline:         "offline",
	QueueOverflow:   "queue_overflow",
	Expired:         "expired",
	SessionEnded:    "session_ended",
	NotAllowed:      "not_allowed",
	Refused:         "refused",
	BackendTooSlow:  "backend_too_slow",
	Shed:            "shed",
	Conflated:       "conflated",
	Quota:           "quota",
	QuotaDevice:     "quota_device",
	QuotaCredential: "quota_credential",
	BadTopic:        "invalid_topic",
	TooLarge:        "too_large",
	NoIDs:           "no_ids",
}

func (d Drop) String() string { return dropLabels[d] }

// Drops counts messages by reason. Safe from any goroutine.
type Drops [drops]atomic.Uint64

// Add counts n messages.
func (d *Drops) Add(why Drop, n int) {
	if n > 0 {
		d[why].Add(uint64(n))
	}
}

// Each calls yield with every reason's label and count.
func (d *Drops) Each(yield func(label string, n uint64)) {
	for i := range d {
		yield(Drop(i).String(), d[i].Load())
	}
}

// notRetained are the labels of NotRetained: whose bound it was, or the store that failed.
var notRetained = [...]string{store.OfNode, store.OfDevice, store.OfPrefix, "store"}

// NotRetained counts messages that were not retained, by reason. Safe from any goroutine.
type NotRetained [len(notRetained)]atomic.Uint64

func (n *NotRetained) add(err error) {
	why := len(notRetained) - 1
	var full *store.RetainedFull
	if errors.As(err, &full) {
		for i, label := range notRetained {
			if label == full.Of {
				why = i
			}
		}
	}
	n[why].Add(1)
}

// Each calls yield with every reason's label and count.
func (n *NotRetained) Each(yield func(label string, count uint64)) {
	for i, label := range notRetained {
		yield(label, n[i].Load())
	}
}
