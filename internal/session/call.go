package session

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// Call asks the device to run method and waits for its reply until ctx ends. A call is not queued: if the device is
// not connected now, Call fails. payload must not change any more.
func (m *Manager) Call(ctx context.Context, device, method string, payload []byte, contentType string) (devices.Reply, error) {
	s := m.session(device)
	if s == nil {
		return devices.Reply{}, devices.ErrUnknown
	}
	if ctx.Err() != nil {
		return devices.Reply{}, unanswered(ctx)
	}
	id := message.NextID()
	if id == 0 {
		return devices.Reply{}, message.ErrNoIDs
	}
	answer := make(chan reply, 1)
	if err := s.call(ctx, id, method, payload, contentType, answer); err != nil {
		return devices.Reply{}, err
	}
	defer s.forget(id)
	select {
	case r := <-answer:
		if r.lost {
			return devices.Reply{}, devices.ErrLost
		}
		return r.Reply, nil
	case <-ctx.Done():
		return devices.Reply{}, unanswered(ctx)
	}
}

// unanswered returns why a call failed when its context ended.
func unanswered(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return devices.ErrNoAnswer
	}
	return ctx.Err()
}

// reply is the reply to a call, or says that none comes.
type reply struct {
	devices.Reply
	lost bool // the connection ended first
}

// call registers the channel for the reply and makes the loop send the packet.
func (s *Session) call(ctx context.Context, id uint64, method string, payload []byte, contentType string, answer chan<- reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link
	switch {
	case l == nil:
		return devices.ErrOffline
	case !l.conn.Acks():
		return devices.ErrNotCallable
	case len(s.calls) >= s.manager.config.MaxCalls:
		return devices.ErrTooManyCalls
	}
	p := &wire.Packet{Op: wire.Call, ID: id, Waits: true, Method: method, Payload: payload, ContentType: contentType}
	if deadline, ok := ctx.Deadline(); ok {
		p.Timeout = time.Until(deadline)
	}
	if s.calls == nil {
		s.calls = make(map[uint64]chan<- reply)
	}
	s.calls[id] = answer
	if !l.conn.Do(func() { l.ask(p) }) {
		delete(s.calls, id)
		return devices.ErrOffline
	}
	return nil
}

// ask sends the packet of a call, if the caller still waits for the reply.
func (l *Link) ask(p *wire.Packet) {
	s := l.session
	s.mu.Lock()
	_, waits := s.calls[p.ID]
	s.mu.Unlock()
	if !waits {
		return
	}
	if refused := l.conn.Call(p); refused != "" && refused != Ending { // the end of the connection answers the others
		l.reply(&wire.Packet{Op: wire.Reply, ID: p.ID, Err: wire.Error{Code: CodeNotCallable, Reason: refused}})
	}
}

// Waits reports whether a caller still waits for the device's reply to a call. It returns false for a command, which has no caller. Safe from
// any goroutine that holds no lock.
func (l *Link) Waits(id uint64) bool {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link == l && s.calls[id] != nil
}

// forget removes a call that was answered or whose caller waits no longer.
func (s *Session) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, id)
	if len(s.calls) == 0 {
		s.calls = nil
	}
}

// CodeNotCallable is the code of a reply that the gateway gives because the device cannot get the call.
const CodeNotCallable = "not_callable"

// reply gives the device's reply to the caller, or to the command. A reply that comes too late changes nothing.
func (l *Link) reply(p *wire.Packet) {
	s := l.session
	s.mu.Lock()
	var answer chan<- reply
	live := s.link == l
	if live {
		answer = s.calls[p.ID]
		delete(s.calls, p.ID)
	}
	s.mu.Unlock()
	switch {
	case !live:
		return
	case answer == nil:
		l.answerCommand(p)
		return
	}
	answerCall(answer, reply{Reply: devices.Reply{
		Payload:     bytes.Clone(p.Payload),
		ContentType: strings.Clone(p.ContentType),
		Err:         wire.Error{Code: strings.Clone(p.Err.Code), Reason: strings.Clone(p.Err.Reason)},
	}})
}

// answerCall gives a call its reply. The channel has room for one, and only the first counts, so that answerCall does
// not block.
func answerCall(answer chan<- reply, r reply) {
	select {
	case answer <- r:
	default:
	}
}

// loseCalls fails the calls of a connection that has ended. The session is locked.
func (s *Session) loseCalls() {
	for _, answer := range s.calls {
		answerCall(answer, reply{lost: true})
	}
	s.calls = nil
}
