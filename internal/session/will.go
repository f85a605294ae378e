package session

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// ErrWillNotAllowed refuses a connection because the device may not publish its will.
var ErrWillNotAllowed = errors.New("the device may not publish its will")

// checkWill checks and returns the will of a connection; nil if it has none.
func (m *Manager) checkWill(device string, o *Options) (*store.Will, error) {
	if o.Will == nil {
		return nil, nil
	}
	if o.Will.Message.ID == 0 { // the record of a session could not be read with it
		return nil, fmt.Errorf("will: %w", message.ErrNoIDs)
	}
	name := o.Will.Message.Topic
	if err := topic.ValidateName(name, m.config.Topics); err != nil {
		return nil, fmt.Errorf("will: %w", err)
	}
	if err := mayPublish(o.Permissions, device, name); err != nil {
		m.router.Drop(o.Will.Message, device, router.NotAllowed, 1)
		return nil, fmt.Errorf("%w: %w", ErrWillNotAllowed, err)
	}
	debtor := message.DebtorOf(device, credentialOf(o.Permissions))
	if m.router.Short(debtor) && !m.HasMessages(device) { // a device that takes its messages makes room
		if err := m.router.CheckQuota(debtor); err != nil {
			return nil, fmt.Errorf("will: %w", err)
		}
	}
	o.Will.Message.Debtor = debtor
	return o.Will, nil
}

// setWill replaces the will by w, which may be nil. s.mqtt is not nil, and the session is locked.
func (s *Session) setWill(w *store.Will) {
	account, before := s.manager.router.Account(), s.willBytes()
	if t := s.mqtt; t.will != nil {
		t.will.Message.Release(account)
	}
	if s.mqtt.will = w; w != nil {
		w.Message.Hold(account)
	}
	s.manager.owners.count(s, 0, s.willBytes()-before)
}

// willBytes returns the size of the will, 0 when there is none.
func (s *Session) willBytes() int {
	if s.mqtt == nil || s.mqtt.will == nil {
		return 0
	}
	return s.mqtt.will.Message.Size()
}

// ForgetWill removes the will of a device that sends DISCONNECT [MQTT-3.14.4-3].
func (l *Link) ForgetWill() {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l && s.mqtt != nil && s.mqtt.will != nil {
		s.setWill(nil)
		s.save()
	}
}

// willDue returns when the will of a device that left is published, in Unix milliseconds, unless the session ends
// before.
func (s *Session) willDue() int64 {
	if s.mqtt == nil || s.mqtt.will == nil {
		return math.MaxInt64
	}
	return s.changed + s.mqtt.will.Delay.Milliseconds()
}

// announceWill queues the will, if there is one, for the announcer. If the store has it in the session's record, it keeps it as an
// orphan from now on, until all receivers have it. The caller then saves or drops the record. The session is locked.
func (s *Session) announceWill() {
	if s.mqtt == nil || s.mqtt.will == nil {
		return
	}
	w := s.mqtt.will
	s.setWill(nil)
	m, now := w.Message.With(nil), time.Now()
	m.Source, m.Time, m.Expiry = s.device, now.UnixMilli(), 0
	m.Origin = message.Origin{Via: message.ViaWill}
	m.Trace = message.TraceOf(m.Properties)
	if w.Expiry > 0 {
		m.Expiry = now.Add(w.Expiry).UnixMilli()
	}
	orphan := ""
	if s.isKept() {
		orphan = orphanKey(m, "")
		s.manager.store.PutFor(s.device, store.SpaceOrphan, orphan, message.AppendRecord(nil, m))
	}
	s.manager.presence.addWill(m, orphan)
}

// Wills returns how many wills were published.
func (m *Manager) Wills() uint64 { return m.presence.wills.Load() }

// SetExpiry changes how long the session outlives the connection, as DISCONNECT may ask. It returns false if the
// expiry was 0 and d is not: MQTT forbids that [MQTT-3.14.2-2].
func (l *Link) SetExpiry(d time.Duration) bool {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return true
	}
	if s.expiry == 0 && d > 0 {
		return false
	}
	before := s.expiry
	s.expiry = s.manager.expirySeconds(&d)
	s.saveAfter(before)
	return true
}

// Expiry returns how long the session outlives the connection, which may be less than the device asked for.
func (l *Link) Expiry() time.Duration {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.expiry) * time.Second
}

// ephemeral reports whether an MQTT session ends with its live connection, so that the next connection finds none,
// MQTT 5 §3.1.2.11.2.
func (s *Session) ephemeral() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry == 0 && (s.link != nil && s.liveMQTT() != nil || s.isArriving())
}
