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

// announcer publishes presence events in the order in which sessions changed. Events are
// added under the session's lock and published outside it, because a session may be a
// receiver; whoever finds nobody publishing does it for all.
type announcer struct {
	publish func(*message.Message)

	// Guarded by mu.
	mu      sync.Mutex
	events  []Presence
	running bool
}

// add is called with the session locked.
func (a *announcer) add(s *Session, online bool, reason string) {
	a.mu.Lock()
	a.events = append(a.events, Presence{s.device, online, s.ID(), reason, time.Now().UnixMilli()})
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

func (a *announcer) announce(e *Presence) {
	payload, err := json.Marshal(e)
	if err != nil {
		return // strings, a bool and a number always marshal
	}
	a.publish(&message.Message{
		Topic:       PresencePrefix + e.Device,
		Payload:     payload,
		ContentType: message.JSON,
		QoS:         message.AtLeastOnce,
		Time:        e.Time,
	})
}
