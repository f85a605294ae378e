package router

import (
	"errors"
	"sync/atomic"

	"github.com/longline/longline/internal/store"
)

// Drop is the reason why a message was not delivered, a label of metrics.
type Drop uint8

// The reasons.
const (
	QueueFull       Drop = iota // a full queue dropped a QoS 0 message for a newer one; or a QoS 1 or 2 message waited too long for room, or too many waited
	Offline                     // the device was away, and the message had QoS 0
	QueueOverflow               // the oldest message in the full queue of a device that is away, dropped for a newer one
	Expired                     // it waited longer than its expiry or store.queue.age
	SessionEnded                // the session of its receiver, or the subscription of a backend, ended
	NotAllowed                  // its publisher may not use the topic
	Refused                     // a receiver can never take it: it is larger than the queue, or the store refuses it
	BackendTooSlow              // the inbox of a backend was full, and the message had QoS 0
	Conflated                   // a newer QoS 0 message of the topic replaced it, because the subscription conflates
	Shed                        // the node was short of memory, and the message had QoS 0 and had to wait
	BadTopic                    // its topic has more levels or bytes than sessions.topics allows
	TooLarge                    // it was larger than gateway.max_payload, from a publisher that cannot be told that limit
	Quota                       // the kept messages of the node were at their limit, and the publisher was refused
	QuotaDevice                 // the kept messages of the device were at their limit
	QuotaCredential             // the kept messages of the credential, or of the backend, were at their limit
	NoIDs                       // the node had no ID for it, see message.ErrNoIDs
	StoreFails                  // the store could make nothing safe, and the publisher was refused
	StreamFull                  // a stream had no room for it
	StreamFailing               // a stream could make nothing safe
	Lost                        // the disk has spoilt it
	Unreadable                  // a retained message, which stays retained, could not be read from the disk
	NodeFull                    // too much waits for another node of the cluster
	NodeAway                    // another node of the cluster could not be reached
	TooManyHops                 // nodes sent it on to one another, and none had the device
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
	StoreFails:      "store",
	StreamFull:      "stream_full",
	StreamFailing:   "stream_failing",
	Lost:            "lost",
	Unreadable:      "unreadable",
	NodeFull:        "node_full",
	NodeAway:        "node_away",
	TooManyHops:     "too_many_hops",
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

// notRetained are the labels of NotRetained: whose bound the message would pass, or that the store failed.
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
