package session

import (
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// tailor returns m as the session's subscriptions want it, and its QoS, or nil when none
// wants it: one message answers all that match, MQTT 5 §3.3.4. It is conflated when all of them
// say so. It is for a session with special subscriptions; locked.
func (s *Session) tailor(m *message.Message, q message.QoS) (_ *message.Message, _ message.QoS, conflate bool) {
	f := fit{share: router.ShareOf(m)}
	for i := range s.subscriptions {
		f.add(&s.subscriptions[i], m, s.device)
	}
	switch {
	case !f.local: // the router found the QoS, or nothing matches: a broadcast
	case !f.matched:
		return nil, 0, false
	default:
		q = min(f.qos, m.QoS)
	}
	conflate = f.matched && !f.whole
	if f.ids == nil && !f.retain {
		return m, q, conflate
	}
	m = m.With(&message.Delivery{Subscriptions: f.ids, Share: f.share})
	m.Retain = f.retain
	return m, q, conflate
}

// fit is what a session's subscriptions together want of a message.
type fit struct {
	share   string
	local   bool // one does not want it, because the device published it
	matched bool // another does
	whole   bool // one does not conflate
	qos     message.QoS
	ids     []uint32
	retain  bool
}

func (f *fit) add(sub *topic.Subscription, m *message.Message, device string) {
	switch {
	case f.share == "" && !topic.Match(sub.Filter, m.Topic), f.share != "" && sub.Filter != f.share:
		return
	case sub.NoLocal && m.Source == device: // [MQTT-3.8.3-3]
		f.local = true
		return
	}
	f.matched = true
	f.whole = f.whole || !sub.Conflate
	f.qos = max(f.qos, sub.QoS)
	f.retain = f.retain || sub.RetainAsPublished && m.Kept // MQTT 5 §3.8.3.1
	if sub.ID != 0 {                                       // [MQTT-3.3.4-4]
		f.ids = append(f.ids, sub.ID)
	}
}

func anySpecial(subs []topic.Subscription) bool {
	return slices.ContainsFunc(subs, func(sub topic.Subscription) bool { return sub.Special() })
}
