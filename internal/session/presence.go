package session

import (
	"encoding/json"
	"runtime"
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

// fewEvents are as many as whoever changes a session publishes itself.
const fewEvents = 64

// announcer publishes presence events and wills in the order in which sessions changed. Events are
// added under the session's lock and published outside it, because a session may be a
// receiver. Whoever finds nobody publishing publishes a few, which is all there mostly is. The rest,
// when a network fails, is left to a goroutine that ends when nothing is left: no loop works for all.
type announcer struct {
	publish func(m *message.Message, done func(error)) // done may be nil
	wanted  func(topic string) bool                    // somebody would get it
	account *message.Account                           // what the node owes, wills that wait included; may be nil

	// Safe from any goroutine.
	wills atomic.Uint64 // published
	rest  sync.WaitGroup

	// Guarded by mu.
	mu      sync.Mutex
	events  []event
	running bool // somebody publishes
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

// addWill is called with the session locked. The node owes the will until it is published: wills of many
// devices may wait.
func (a *announcer) addWill(m *message.Message) {
	m.Hold(a.account)
	a.mu.Lock()
	a.events = append(a.events, event{will: m})
	a.mu.Unlock()
}

// run publishes what was added, unless somebody does. No lock may be held.
func (a *announcer) run() {
	if a.begin() && !a.announceSome() {
		a.rest.Go(func() {
			for !a.announceSome() {
				runtime.Gosched()
			}
		})
	}
}

// begin makes the caller the one who publishes, if there is something to publish and nobody does.
func (a *announcer) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running || len(a.events) == 0 {
		return false
	}
	a.running = true
	return true
}

// announceSome publishes a few events and reports whether none is left. Then somebody else may publish.
func (a *announcer) announceSome() (done bool) {
	a.mu.Lock()
	some := a.events[:min(len(a.events), fewEvents)]
	a.events = a.events[len(some):]
	a.mu.Unlock()
	for i := range some {
		a.announce(&some[i])
	}
	clear(some)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.events) > 0 {
		return false
	}
	if a.events, a.running = nil, false; cap(some) <= fewEvents {
		a.events = some[:0] // for the next ones
	}
	return true
}

// wait returns when nobody publishes any more what was added before.
func (a *announcer) wait() { a.rest.Wait() }

// announce publishes an event. A will waits for receivers that are full; presence does not,
// which has the session's own changes behind it, and is not even written where nobody listens.
func (a *announcer) announce(e *event) {
	if e.will != nil {
		a.publish(e.will, func(error) {})
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
	}, nil)
}
