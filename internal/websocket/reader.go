package websocket

// DefaultMaxMessage is the limit of a Config that has none, in bytes.
const DefaultMaxMessage = 1 << 20

// Config is what many Readers share. The zero value is a server's.
type Config struct {
	// Client: the reader is the client, so that frames must come unmasked.
	Client bool
	// MaxMessage bounds a message, in bytes after decompression; 0 is DefaultMaxMessage.
	MaxMessage int
	// MaxFrame bounds the payload of one frame, in bytes; 0 leaves it to MaxMessage.
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
	// Op is Text, Binary, Close, Ping or Pong. It is 0 when there is no event: more bytes
	// are needed.
	Op Opcode
	// Code is the close code of a Close, CodeNoStatus when the frame has none.
	Code uint16
	// Payload is the message, or the application data of a control frame; of a Close, the
	// reason. Valid until the next call of a method of the Reader, or until the buffer
	// that Next was given is used again.
	Payload []byte
}

// Reader turns the bytes of one connection into events. It is not safe for concurrent
// use. While no frame or message is unfinished, it holds no buffer.
type Reader struct {
	cfg     *Config   // shared
	message *assembly // the data message that came in pieces, unfinished or lent
	control *assembly // the control frame that came in pieces, unfinished or lent
	deflate bool
}

// Init makes r ready for a new connection. deflate tells whether permessage-deflate,
// without context takeover by the peer, was negotiated.
func (r *Reader) Init(cfg *Config, deflate bool) { *r = Reader{cfg: cfg, deflate: deflate} }

// Use changes what bounds the messages that have not begun.
func (r *Reader) Use(cfg *Config) { r.cfg = cfg }

// Held is the size of the buffer that an unfinished message has, in bytes.
func (r *Reader) Held() int {
	if r.message == nil || r.message.lent {
		return 0
	}
	return cap(r.message.buf)
}

// Unfinished tells whether r holds a message or control frame of which a part has come.
func (r *Reader) Unfinished() bool {
	return r.message != nil && !r.message.lent || r.control != nil && !r.control.lent
}

// Release gives back what r has borrowed; the last event's payload is invalid after.
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

// Next consumes n bytes of p and returns at most one event. Call it again with the rest
// until there is no event; what is then left, less than MaxHeader bytes, is offered again
// with more behind it. p is changed in place: payloads are unmasked there.
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

// reclaim takes back what the last call lent.
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

// open returns the assembly whose frame is under way, nil when a header comes next.
func (r *Reader) open() *assembly {
	if r.control != nil {
		return r.control
	}
	if r.message != nil && r.message.open {
		return r.message
	}
	return nil
}

// check holds a header against the rules and the limits.
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

// whole tells whether the frame is an event by itself that can be delivered from the
// caller's buffer, which has avail bytes after the header.
func (r *Reader) whole(h header, avail int) bool {
	return h.fin() && h.op() != Continuation && h.rsv() == 0 && h.length <= uint64(avail)
}

// single makes the event of a whole frame, a view of payload.
func single(h header, payload []byte) (Event, error) {
	if h.masked() {
		mask(payload, h.key)
	}
	if h.op() == Text && !validUTF8(payload) {
		return Event{}, ErrInvalidUTF8
	}
	return event(h.op(), payload)
}

// event checks what only a whole control frame shows.
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

// begin opens an assembly for a frame, or the message's next frame.
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

// absorb moves what p has of the frame into the buffer, unmasked, and validates text as
// far as it has come.
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

// finish makes the event of a frame or message that has come in full.
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
