package message

import "unsafe"

// Encoder turns a message into the bytes of one class: what every connection of one
// protocol, QoS and compression gets.
type Encoder interface {
	// Class names the form; one number for each combination in the process.
	Class() int
	// Encode returns the wire form of m. The result is shared and never changed.
	Encode(m *Message) []byte
}

// encoding is one remembered wire form; a message has a list of the few it was asked for.
type encoding struct {
	class int
	bytes []byte
	next  *encoding
}

// Encoded returns the wire form of an owned message, made at the first call for the
// class and shared after. It is not remembered while one place alone keeps the message (Hold): nobody else
// asks for it, and a large message would be in memory twice, one time of which no account knows.
// Safe from any goroutine; of two that race, both may encode.
func (m *Message) Encoded(e Encoder) []byte {
	class := e.Class()
	for f := m.encodings.Load(); f != nil; f = f.next {
		if f.class == class {
			return f.bytes
		}
	}
	f := &encoding{class: class, bytes: e.Encode(m)}
	if m.holders.Load() == 1 {
		return f.bytes
	}
	for {
		f.next = m.encodings.Load()
		if m.encodings.CompareAndSwap(f.next, f) {
			return f.bytes
		}
	}
}

// unsafeString views bytes that nobody will change as a string.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
