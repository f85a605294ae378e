package session

import (
	"encoding/json"
	"sync"
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

// fewEvents is the size of a list of events that is kept for the next ones.
const fewEvents = 64

// announcer publishes presence events and wills in the order in which sessions changed. Events are
// added under the session's lock and published outside it, because a session may be a
// receiver; whoever finds nobody publishing does it for all.
type announcer struct {
	publish func(m *message.Message, done func(error)) // done may be nil
	wanted  func(topic string) bool                    // somebody would get it

	// Safe from any goroutine.
	wills atomic.Uint64 // published

	// Guarded by mu.
	mu      sync.Mutex
	events  []event
	spare   []event // an empty list, or nil
	running bool
}

// add is called with the session locked.
func (a *announcer) add(s *Session, online bool, reason string) {
	a.mu.Lock()
	a.events = append(a.events, event{
		Presence: Presence{Device: s.device, Online: online, Reason: reason, Time: time.Now().UnixMilli()},
		session:  s.id,
	})
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
		a.events, a.spare = a.spare, nil
		a.mu.Unlock()
		for i := range events {
			a.announce(&events[i])
		}
		a.mu.Lock()
		if clear(events); cap(events) <= fewEvents {
			a.spare = events[:0]
		}
	}
	a.running = false
	a.mu.Unlock()
}

// announce publishes an event. A will waits for receivers that are full; presence does not,
// which has the session's own changes behind it, and is not even written where nobody listens.
func (a *announcer) announce(e *event) {
	if e.will != nil {
		a.publish(e.will, func(error) {})
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
	}, nil)
}
