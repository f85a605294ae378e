package session

import (
	"time"

	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/wire"
)

// Commands, which package command keeps, leave on the loop of the device's connection, as calls. The loop asks for the next one
// when the connection begins, when a command is answered, and when Manager.SendCommands has woken it.

// wakes are what a connection's loop was asked to do and has not done yet.
type wakes uint8

const (
	toFlush        wakes = 1 << iota
	toSendCommands       // with the next flush
)

// wake asks the connection's loop to flush, if it is not asked already.
func (s *Session) wake() { s.wakeTo(toFlush) }

func (s *Session) wakeTo(what wakes) {
	if s.link == nil {
		return
	}
	if s.woken&toFlush == 0 {
		s.link.conn.Wake()
	}
	s.woken |= toFlush | what
}

// Online implements command.Devices.
func (m *Manager) Online(device string) bool {
	s := m.session(device)
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil && s.link.conn.Acks()
}

// SendCommands implements command.Devices.
func (m *Manager) SendCommands(device string) {
	s := m.session(device)
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakeTo(toSendCommands)
}

// reconsiderCommands offers the connection again what it refused, because the device has subscribed to something. The session is
// locked.
func (s *Session) reconsiderCommands() {
	if c := s.manager.config.Commands; c != nil && c.Reconsider(s.device) {
		s.wakeTo(toSendCommands)
	}
}

// cutCommands says that the connection has ended. The session is locked.
func (s *Session) cutCommands() {
	if c := s.manager.config.Commands; c != nil {
		c.Cut(s.device)
	}
}

// commandsAtOnce bounds the commands of one turn of the loop.
const commandsAtOnce = 16

// sendCommands sends commands whose turn has come while the socket has room. On the loop, without locks.
func (l *Link) sendCommands() {
	for range commandsAtOnce {
		c, ok := l.takeCommand()
		if !ok {
			return
		}
		l.sendCommand(c)
	}
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.wakeTo(toSendCommands)
	}
}

// takeCommand returns the next command for the device. If the socket is full, the flush after it has drained goes on.
func (l *Link) takeCommand() (c command.Sending, ok bool) {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	commands := s.manager.config.Commands
	switch {
	case commands == nil, s.link != l, !l.conn.Acks():
		return c, false
	case l.subscribing(), !l.conn.Room():
		s.woken |= toSendCommands
		return c, false
	}
	return commands.Take(s.device)
}

// sendCommand writes the call of a command, and reports what became of it.
func (l *Link) sendCommand(c command.Sending) {
	s := l.session
	commands := s.manager.config.Commands
	refused := l.conn.Call(&wire.Packet{
		Op:          wire.Call,
		ID:          c.ID,
		Method:      c.Method,
		Payload:     c.Payload,
		ContentType: c.ContentType,
		Timeout:     max(time.Millisecond, time.Until(time.UnixMilli(c.Expires))),
		Again:       c.Again,
	})
	if refused != "" {
		commands.Refused(c, refused)
		return
	}
	commands.Handed(c, s.ID(), s.connectedSince())
}

// connectedSince returns when the connection began, in Unix milliseconds.
func (s *Session) connectedSince() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// answerCommand gives a command its answer, if the reply is one, and sends the next command.
func (l *Link) answerCommand(p *wire.Packet) {
	s := l.session
	if c := s.manager.config.Commands; c != nil && c.Answer(s.device, p.ID, p.Payload, p.ContentType, p.Err) {
		l.sendCommands()
	}
}
