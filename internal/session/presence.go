package session

import (
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
)

// PresencePrefix begins the topics on which the gateway publishes that devices connect and disconnect.
const PresencePrefix = "$presence/"

// Presence is the payload of a presence event.
type Presence struct {
	Device  string `json:"device"`
	Online  bool   `json:"online"`
	Session string `json:"session"`
	Reason  string `json:"reason,omitempty"` // why the device went offline: a close label
	Time    int64  `json:"ts"`               // Unix milliseconds
}

// event is a change of presence, or a will.
type event struct {
	Presence                  // announce sets Session
	session  uint64           // the ID of the session; 0 if this node does not know it
	will     *message.Message // nil for a change of presence
	orphan   string           // the key under which the store keeps the will, or empty
}

// announcer publishes presence events and wills in the order in which the sessions changed.
type announcer struct {
	backlog[event]

	// Static after construction.
	publish func(m *message.Message, orphan string) error
	forget  func(will *message.Message, orphan string)
	willDue func()
	wanted  func(topic string) bool // reports whether a message would have a receiver
	waits   func(will *message.Message) bool
	account *message.Account // counts wills until they are published; may be nil

	// Safe from any goroutine.
	wills atomic.Uint64 // how many were published

	waiting waitingWills
}

// addPresence adds the event that the device of s came or left. The session is locked.
func (a *announcer) addPresence(s *Session, online bool, reason string) {
	a.add(event{
		Presence: Presence{Device: s.device, Online: online, Reason: reason, Time: time.Now().UnixMilli()},
		session:  s.id,
	})
}

// addWill adds a will. The node's account counts it until it is published, because wills of many devices may wait. The
// session is locked.
func (a *announcer) addWill(m *message.Message, orphan string) {
	a.willDue()
	m.Hold(a.account)
	a.add(event{will: m, orphan: orphan})
}

// announceAgain announces wills that have waited.
func (a *announcer) announceAgain(wills ...event) {
	a.add(wills...)
	a.run()
}

// announce publishes an event, unless it is a will that has to wait for the store. Like any message, it waits for room at receivers that are full. If nobody has
// subscribed to a presence event, announce does not even encode it.
func (a *announcer) announce(e *event) {
	if e.will != nil {
		if a.waits(e.will) && a.waiting.add(e) {
			return
		}
		err := a.publish(e.will, e.orphan)
		if errors.Is(err, router.ErrStore) && a.waiting.add(e) { // the store has failed since a.waits looked
			return
		}
		if err != nil && e.orphan != "" {
			a.forget(e.will, e.orphan)
		}
		e.will.Release(a.account)
		a.wills.Add(1)
		return
	}
	topic := PresencePrefix + e.Device
	if !a.wanted(topic) {
		return
	}
	if e.session != 0 {
		e.Session = sessionID(e.session)
	}
	payload, err := json.Marshal(&e.Presence)
	if err != nil {
		return // strings, a bool and a number always marshal
	}
	_ = a.publish(&message.Message{
		Topic:       topic,
		Payload:     payload,
		ContentType: message.JSON,
		QoS:         message.AtLeastOnce,
		Time:        e.Time,
		Origin:      message.Origin{Via: message.ViaGateway},
	}, "")
}
