package session

import (
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
)

// PresencePrefix begins the topics on which the gateway says who comes and goes.
const PresencePrefix = "$presence/"

// Presence is the payload of a presence event.
type Presence struct {
	Device  string `json:"device"`
	Online  bool   `json:"online"`
	Session string `json:"session"`
	Reason  string `json:"reason,omitempty"` // why it went offline: a close label
	Time    int64  `json:"ts"`               // Unix milliseconds
}

// event is a change of presence, or a will.
type event struct {
	Presence                  // Session is empty until it is published
	session  uint64           // its id
	will     *message.Message // nil when it is none
}

// announcer publishes presence events and wills in the order in which sessions changed.
type announcer struct {
	chores[event]

	// Static after construction.
	publish func(*message.Message)
	wanted  func(topic string) bool // somebody would get it
	account *message.Account        // what the node owes, wills that wait included; may be nil

	// Safe from any goroutine.
	wills atomic.Uint64 // published
}

// addPresence is called with the session locked.
func (a *announcer) addPresence(s *Session, online bool, reason string) {
	a.add(event{
		Presence: Presence{Device: s.device, Online: online, Reason: reason, Time: time.Now().UnixMilli()},
		session:  s.id,
	})
}

// addWill is called with the session locked. The node owes the will until it is published: wills of many
// devices may wait.
func (a *announcer) addWill(m *message.Message) {
	m.Hold(a.account)
	a.add(event{will: m})
}

// announce publishes an event, which waits for room at receivers that are full as any message. Presence is not even
// written where nobody listens.
func (a *announcer) announce(e *event) {
	if e.will != nil {
		a.publish(e.will)
		e.will.Release(a.account)
		a.wills.Add(1)
		return
	}
	topic := PresencePrefix + e.Device
	if !a.wanted(topic) {
		return
	}
	e.Session = sessionID(e.session)
	payload, err := json.Marshal(&e.Presence)
	if err != nil {
		return // strings, a bool and a number always marshal
	}
	a.publish(&message.Message{
		Topic:       topic,
		Payload:     payload,
		ContentType: message.JSON,
		QoS:         message.AtLeastOnce,
		Time:        e.Time,
		Origin:      message.Origin{Via: message.ViaGateway},
	})
}
