package websocket

// DefaultMaxMessage is the default of Config.MaxMessage, in bytes.
const DefaultMaxMessage = 1 << 20

// Config is the configuration that many Readers share. The zero value is for servers.
type Config struct {
	// Client says that the reader is the client, which gets unmasked frames.
	Client bool
	// MaxMessage bounds a message, in bytes after decompression; 0 is DefaultMaxMessage.
	MaxMessage int
	// MaxFrame bounds the payload of one frame, in bytes; 0 means that only MaxMessage counts.
	MaxFrame int
}

func (c *Config) maxMessage() int {
	if c.MaxMessage > 0 {
		return c.MaxMessage
	}
	return DefaultMaxMessage
}

// Event is one whole message or control frame.
type Event struct {
	// Op is Text, Binary, Close, Ping or Pong. It is 0 if there is no event: more bytes
	// are needed.
	Op Opcode
	// Code is the code of a Close, CodeNoStatus if the frame has none.
	Code uint16
	// Payload is the message, or the application data of a control frame; of a Close, the
	// reason. It is valid until the next call of a method of the Reader, or until the buffer
	// that was given to Next is used again.
	Payload []byte
}

// Reader turns the bytes of one connection into events. It is not safe for concurrent
// use. It holds a buffer only while a frame or message is unfinished.
type Reader struct {
	cfg     *Config   // shared
	message *assembly // the data message that arrives in pieces, unfinished or lent
	control *assembly // the control frame that arrives in pieces, unfinished or lent
	deflate bool
}

// Init prepares r for a new connection. deflate says whether permessage-deflate was negotiated,
// without context takeover by the peer.
func (r *Reader) Init(cfg *Config, deflate bool) { *r = Reader{cfg: cfg, deflate: deflate} }

// Use changes the configuration for messages that have not begun.
func (r *Reader) Use(cfg *Config) { r.cfg = cfg }

// Held returns the size of the buffer of an unfinished message, in bytes.
func (r *Reader) Held() int {
	if r.message == nil || r.message.lent {
		return 0
	}
	return cap(r.message.buf)
}

// Unfinished reports whether only a part of a message or control frame has arrived.
func (r *Reader) Unfinished() bool {
	return r.message != nil && !r.message.lent || r.control != nil && !r.control.lent
}

// Release returns what r has borrowed; the last event's payload is invalid after that.
func (r *Reader) Release() {
	if r.message != nil {
		r.message.giveBack()
		r.message = nil
	}
	if r.control != nil {
		r.control.giveBack()
		r.control = nil
	}
}

// Next consumes n bytes of p and returns at most one event. Call it with the rest of p
// until there is no event. What is left then, less than MaxHeader bytes, must be passed again
// with more bytes after it. Next changes p: it unmasks payloads in place.
//
// An error is an *Error. After one, and after a Close, nothing more may be read.
func (r *Reader) Next(p []byte) (n int, ev Event, err error) {
	if r.message != nil || r.control != nil {
		r.reclaim()
	}
	for {
		a := r.open()
		if a == nil {
			h, size := parseHeader(p[n:])
			if size == 0 {
				return n, Event{}, nil
			}
			if e := r.check(h); e != nil {
				return n, Event{}, e
			}
			n += size
			if r.whole(h, len(p)-n) {
				payload := p[n : n+int(h.length)]
				ev, err = single(h, payload)
				return n + len(payload), ev, err
			}
			a = r.begin(h)
		}
		took, e := a.absorb(p[n:])
		n += took
		if e != nil {
			return n, Event{}, e
		}
		if a.left > 0 {
			return n, Event{}, nil
		}
		a.open = false
		if a.fin {
			ev, err = r.finish(a)
			return n, ev, err
		}
	}
}

// reclaim takes back what the last call lent to the caller.
func (r *Reader) reclaim() {
	if r.message != nil && r.message.lent {
		r.message.giveBack()
		r.message = nil
	}
	if r.control != nil && r.control.lent {
		r.control.giveBack()
		r.control = nil
	}
}

// open returns the assembly of the current frame, nil if a header comes next.
func (r *Reader) open() *assembly {
	if r.control != nil {
		return r.control
	}
	if r.message != nil && r.message.open {
		return r.message
	}
	return nil
}

// check checks a header against the rules and the limits.
func (r *Reader) check(h header) *Error {
	s := state{client: r.cfg.Client, deflate: r.deflate, message: r.message != nil}
	if e := check(h, s); e != nil || h.op().control() {
		return e
	}
	if r.cfg.MaxFrame > 0 && h.length > uint64(r.cfg.MaxFrame) {
		return ErrFrameTooBig
	}
	limit, have := r.cfg.maxMessage(), 0
	compressed := h.rsv() != 0
	if r.message != nil {
		have, compressed = len(r.message.buf), r.message.compressed
	}
	if compressed {
		limit = deflateBound(limit)
	}
	if h.length > uint64(limit-have) {
		return ErrMessageTooBig
	}
	return nil
}

// whole reports whether the frame is an event by itself that can be a view of the
// caller's buffer, which has avail bytes after the header.
func (r *Reader) whole(h header, avail int) bool {
	return h.fin() && h.op() != Continuation && h.rsv() == 0 && h.length <= uint64(avail)
}

// single makes the event of an unfragmented frame, a view of payload.
func single(h header, payload []byte) (Event, error) {
	if h.masked() {
		mask(payload, h.key)
	}
	if h.op() == Text && !validUTF8(payload) {
		return Event{}, ErrInvalidUTF8
	}
	return event(h.op(), payload)
}

// event makes an event, and checks the rules that need the whole payload of a control frame.
func event(op Opcode, payload []byte) (Event, error) {
	if op != Close {
		return Event{Op: op, Payload: payload}, nil
	}
	code, e := checkClose(payload)
	if e != nil {
		return Event{}, e
	}
	return Event{Op: Close, Code: code, Payload: payload[min(2, len(payload)):]}, nil
}

// begin starts an assembly for a frame, or continues the message with its next frame.
func (r *Reader) begin(h header) *assembly {
	a := r.message
	switch {
	case h.op().control():
		a = borrow(maxControl)
		r.control = a
	case a == nil:
		a = borrow(0)
		r.message = a
	}
	if h.op() != Continuation {
		a.op, a.compressed = h.op(), h.rsv() != 0
	}
	a.left, a.key, a.fin, a.open = h.length, h.key, h.fin(), true
	return a
}

// absorb moves the frame's bytes from p into the buffer, unmasks them, and validates text as
// far as it has arrived.
func (a *assembly) absorb(p []byte) (int, *Error) {
	if uint64(len(p)) > a.left {
		p = p[:a.left]
	}
	a.grow(len(p))
	at := len(a.buf)
	a.buf = append(a.buf, p...)
	a.key = mask(a.buf[at:], a.key)
	a.left -= uint64(len(p))
	if a.op == Text && !a.compressed && !a.text.write(a.buf[at:]) {
		return len(p), ErrInvalidUTF8
	}
	return len(p), nil
}

// finish makes the event of a frame or message that is complete.
func (r *Reader) finish(a *assembly) (Event, error) {
	if a.compressed {
		b, e := inflate(a, r.cfg.maxMessage())
		if e != nil {
			return Event{}, e
		}
		r.message = b
		a.giveBack()
		a = b
	}
	if a.op == Text && !a.text.complete() {
		return Event{}, ErrInvalidUTF8
	}
	a.lent = true
	return event(a.op, a.buf)
}
