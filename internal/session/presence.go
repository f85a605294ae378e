package session

import (
	"encoding/json"
	"sync"
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
	Presence
	will *message.Message // nil when it is none
}

// announcer publishes presence events and wills in the order in which sessions changed. Events are
// added under the session's lock and published outside it, because a session may be a
// receiver; whoever finds nobody publishing does it for all.
type announcer struct {
	publish func(m *message.Message, done func(error)) // done may be nil

	// Guarded by mu.
	mu      sync.Mutex
	events  []event
	running bool
}

// add is called with the session locked.
func (a *announcer) add(s *Session, online bool, reason string) {
	a.mu.Lock()
	a.events = append(a.events, event{Presence: Presence{s.device, online, s.ID(), reason, time.Now().UnixMilli()}})
	a.mu.Unlock()
}

// addWill is called with the session locked.
func (a *announcer) addWill(m *message.Message) {
	a.mu.Lock()
	a.events = append(a.events, event{will: m})
	a.mu.Unlock()
}

// run publishes what was added. No lock may be held.
func (a *announcer) run() {
	a.mu.Lock()
	if a.running {
		a.mu.Unlock()
		return
	}
	a.running = true
	for len(a.events) > 0 {
		events := a.events
		a.events = nil
		a.mu.Unlock()
		for i := range events {
			a.announce(&events[i])
		}
		a.mu.Lock()
	}
	a.running = false
	a.mu.Unlock()
}

// announce publishes an event. A will waits for receivers that are full; presence does not,
// which has the session's own changes behind it.
func (a *announcer) announce(e *event) {
	if e.will != nil {
		a.publish(e.will, func(error) {})
		return
	}
	payload, err := json.Marshal(&e.Presence)
	if err != nil {
		return // strings, a bool and a number always marshal
	}
	a.publish(&message.Message{
		Topic:       PresencePrefix + e.Device,
		Payload:     payload,
		ContentType: message.JSON,
		QoS:         message.AtLeastOnce,
		Time:        e.Time,
	}, nil)
}
