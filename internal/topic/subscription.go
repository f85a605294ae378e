package topic

import "github.com/longline/longline/internal/message"

// Subscription is a filter with the options of MQTT 5 §3.8.3.1, which other protocols leave
// zero, and Conflate, which is Longline's own.
type Subscription struct {
	Filter            string
	ID                uint32      // subscription identifier that each matching message carries, §3.8.2.1.2; 0 is none
	QoS               message.QoS // maximum QoS of messages
	NoLocal           bool        // exclude messages that the subscriber published itself
	RetainAsPublished bool        // keep the publisher's RETAIN flag
	RetainHandling    uint8       // when to send retained messages: Retain...
	Conflate          bool        // of unsent QoS 0 messages on one topic, keep only the newest
}

// Values of Subscription.RetainHandling.
const (
	RetainAlways = 0 // at each subscribe
	RetainNew    = 1 // only if the subscription did not exist before
	RetainNever  = 2
)

// Special reports whether the options change messages for the subscriber, beyond QoS.
func (s *Subscription) Special() bool {
	return s.ID != 0 || s.NoLocal || s.RetainAsPublished || s.Conflate
}
