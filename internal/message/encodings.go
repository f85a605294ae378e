package message

import "unsafe"

// Encoder encodes messages for one class of connections: those with the same
// protocol, QoS and compression.
type Encoder interface {
	// Class returns the class's number, which is unique in the process.
	Class() int
	// Encode returns the encoded form of m. It is shared, and nobody changes it.
	Encode(m *Message) []byte
}

// encoding is one cached form; a message has a list of the few that were asked for.
type encoding struct {
	class int
	bytes []byte
	next  *encoding
}

// Encoded returns the encoded form of an owned message. The first call for a class encodes, and later calls share
// the result. The result is not cached while only one place keeps the message (Hold): nobody else
// asks for it, and a large message would be in memory twice, once without being counted in an account.
// Safe from any goroutine; two concurrent calls may both encode.
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

// unsafeString returns a view, as a string, of bytes that nobody will change.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
