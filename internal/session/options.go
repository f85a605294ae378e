package session

import (
	"slices"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/topic"
)

// applyOptions returns m and its QoS as the options of the matching subscriptions ask for, or nil if none of them
// wants m. One message answers all that match, MQTT 5 §3.3.4. conflate is true if all of them conflate. applyOptions
// is for a session with special subscriptions, and the session is locked.
func (s *Session) applyOptions(m *message.Message, q message.QoS) (_ *message.Message, _ message.QoS, conflate bool) {
	f := fit{share: router.ShareOf(m)}
	for i := range s.subscriptions {
		f.add(&s.subscriptions[i], m, s.device)
	}
	switch {
	case !f.local: // the router found the QoS, or m is a broadcast and nothing matches
	case !f.matched:
		return nil, 0, false
	default:
		q = min(f.qos, m.QoS)
	}
	conflate = f.matched && !f.whole
	if f.ids == nil && !f.retain {
		return m, q, conflate
	}
	d := message.Delivery{Subscriptions: f.ids, Share: f.share}
	if m.Delivery != nil {
		d.Orphan = m.Delivery.Orphan
	}
	m = m.With(&d)
	m.Retain = f.retain
	return m, q, conflate
}

// fit collects the options of the subscriptions that match a message.
type fit struct {
	share   string
	local   bool // one has NoLocal, and the device published the message
	matched bool // another one wants it
	whole   bool // one of those does not conflate
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
