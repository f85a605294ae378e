package topic

import "github.com/longline/longline/internal/message"

// Subscription is a filter with the options of MQTT 5 §3.8.3.1, which other protocols leave
// zero, and one of our own.
type Subscription struct {
	Filter            string
	ID                uint32      // what each message says that answers it, §3.8.2.1.2; 0 is none
	QoS               message.QoS // the most that a message comes with
	NoLocal           bool        // not what the subscriber has published itself
	RetainAsPublished bool        // show whether the publisher asked to keep the message
	RetainHandling    uint8       // when to send what is retained: Retain...
	Conflate          bool        // of unsent QoS 0 messages on one topic, keep the newest alone
}

// Values of Subscription.RetainHandling.
const (
	RetainAlways = 0 // at each subscribe
	RetainNew    = 1 // when the subscription was not there before
	RetainNever  = 2
)

// Special tells whether what a message is to the subscriber depends on more than QoS.
func (s *Subscription) Special() bool {
	return s.ID != 0 || s.NoLocal || s.RetainAsPublished || s.Conflate
}
