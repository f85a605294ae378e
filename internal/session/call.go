package session

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// What can keep a call from being answered.
var (
	ErrUnknownDevice = errors.New("no session of this device")
	ErrOffline       = errors.New("the device is not connected")
	ErrNotCallable   = errors.New("the device's protocol has no calls")
	ErrTooManyCalls  = errors.New("too many calls of the device are unanswered")
	ErrLost          = errors.New("the device's connection ended before it answered")
	ErrNoAnswer      = errors.New("the device did not answer in time")
)

// Call asks the device to do method and waits for its answer, at most until ctx ends. A
// call is not queued: the device is connected now, or the call fails. payload must not
// change any more.
func (m *Manager) Call(ctx context.Context, device, method string, payload []byte, contentType string) (Reply, error) {
	s := m.session(device)
	if s == nil {
		return Reply{}, ErrUnknownDevice
	}
	if ctx.Err() != nil {
		return Reply{}, unanswered(ctx)
	}
	id := message.NextID()
	if id == 0 {
		return Reply{}, message.ErrNoIDs
	}
	answer := make(chan Reply, 1)
	if err := s.call(ctx, id, method, payload, contentType, answer); err != nil {
		return Reply{}, err
	}
	defer s.forget(id)
	select {
	case r := <-answer:
		if r.lost {
			return Reply{}, ErrLost
		}
		return r, nil
	case <-ctx.Done():
		return Reply{}, unanswered(ctx)
	}
}

// unanswered is why a call failed whose context has ended.
func unanswered(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrNoAnswer
	}
	return ctx.Err()
}

// Reply answers a call.
type Reply struct {
	Payload     []byte
	ContentType string
	Err         wire.Error // its Code is empty when the call succeeded
	lost        bool       // the connection ended first
}

// call registers the answer and has the loop send the packet.
func (s *Session) call(ctx context.Context, id uint64, method string, payload []byte, contentType string, answer chan<- Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link
	switch {
	case l == nil:
		return ErrOffline
	case !l.conn.Acks():
		return ErrNotCallable
	case len(s.calls) >= s.manager.config.MaxCalls:
		return ErrTooManyCalls
	}
	p := &wire.Packet{Op: wire.Call, ID: id, Method: method, Payload: payload, ContentType: contentType}
	if deadline, ok := ctx.Deadline(); ok {
		p.Timeout = time.Until(deadline)
	}
	if s.calls == nil {
		s.calls = make(map[uint64]chan<- Reply)
	}
	s.calls[id] = answer
	if !l.conn.Do(func() { l.ask(p) }) {
		delete(s.calls, id)
		return ErrOffline
	}
	return nil
}

// ask sends the packet of a call, if somebody still waits for the answer.
func (l *Link) ask(p *wire.Packet) {
	s := l.session
	s.mu.Lock()
	_, waits := s.calls[p.ID]
	s.mu.Unlock()
	if waits {
		l.conn.Answer(p)
	}
}

// forget drops a call that was answered or given up.
func (s *Session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, id)
	if len(s.calls) == 0 {
		s.calls = nil
	}
}

// reply answers a call. One that comes too late changes nothing.
func (l *Link) reply(p *wire.Packet) {
	s := l.session
	s.mu.Lock()
	var answer chan<- Reply
	if s.link == l {
		answer = s.calls[p.ID]
		delete(s.calls, p.ID)
	}
	s.mu.Unlock()
	if answer == nil {
		return
	}
	answer <- Reply{
		Payload:     bytes.Clone(p.Payload),
		ContentType: strings.Clone(p.ContentType),
		Err:         wire.Error{Code: strings.Clone(p.Err.Code), Reason: strings.Clone(p.Err.Reason)},
	}
}

// loseCalls fails the calls of a connection that has ended. Locked.
func (s *Session) loseCalls() {
	for _, answer := range s.calls {
		answer <- Reply{lost: true}
	}
	s.calls = nil
}
