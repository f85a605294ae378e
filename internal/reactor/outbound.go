package reactor

import (
	"golang.org/x/sys/unix"
)

const (
	maxIovecs = 64  // most segments per writev
	copyBelow = 512 // a shared frame shorter than this is copied to the owned bytes
)

// outbound holds what is pending on a connection: bytes in order, in borrowed buffers or in
// frames shared with other connections. Owned by the loop.
type outbound struct {
	segments []segment
	written  int // bytes of segments[0] that were sent
	size     int // bytes pending in total
	held     int // of those, the bytes that were pending when the socket became full
}

type segment struct {
	bytes []byte
	owned bool // a borrowed buffer; otherwise a shared frame, which nobody changes
}

// reserve returns the free end of a borrowed buffer, with room for at least n bytes.
func (o *outbound) reserve(p *pool, n int) []byte {
	if k := len(o.segments) - 1; k >= 0 && o.segments[k].owned {
		if b := o.segments[k].bytes; cap(b)-len(b) >= n {
			return b[len(b):]
		}
	}
	o.segments = append(o.segments, segment{p.borrow(n), true})
	return o.segments[len(o.segments)-1].bytes
}

// commit adds what was appended to the last reserve. If that outgrew the room, it is a
// new buffer now.
func (o *outbound) commit(p *pool, b []byte) {
	if len(b) == 0 {
		return
	}
	o.size += len(b)
	last := &o.segments[len(o.segments)-1]
	room := last.bytes[len(last.bytes):cap(last.bytes)]
	if cap(room) > 0 && &room[:1][0] == &b[0] {
		last.bytes = last.bytes[:len(last.bytes)+len(b)]
		return
	}
	if len(last.bytes) == 0 { // an unused buffer: the larger one replaces it
		p.giveBack(last.bytes)
		*last = segment{b, false}
		return
	}
	o.segments = append(o.segments, segment{b, false})
}

// share appends bytes that nobody will change.
func (o *outbound) share(p *pool, b []byte) {
	if k := len(o.segments) - 1; k >= 0 && o.segments[k].owned && len(b) < copyBelow {
		if s := &o.segments[k]; cap(s.bytes)-len(s.bytes) >= len(b) {
			s.bytes = append(s.bytes, b...)
			o.size += len(b)
			return
		}
	}
	o.segments = append(o.segments, segment{b, false})
	o.size += len(b)
}

// write gives the kernel as much as it accepts in one call.
func (o *outbound) write(fd int, iov *[maxIovecs]unix.Iovec) (int, unix.Errno) {
	first := o.segments[0].bytes[o.written:]
	if len(o.segments) == 1 {
		return rawSend(fd, first)
	}
	n := min(len(o.segments), maxIovecs)
	for i := range n {
		b := o.segments[i].bytes
		if i == 0 {
			b = first
		}
		if len(b) == 0 { // a reserved buffer that was not used
			iov[i].Base = nil
			iov[i].SetLen(0)
			continue
		}
		iov[i].Base = &b[0]
		iov[i].SetLen(len(b))
	}
	return rawWritev(fd, iov[:n])
}

// advance removes n bytes that were sent.
func (o *outbound) advance(p *pool, n int) {
	o.size -= n
	o.written += n
	k := 0
	for k < len(o.segments) && o.written >= len(o.segments[k].bytes) {
		s := &o.segments[k]
		o.written -= len(s.bytes)
		if s.owned {
			p.giveBack(s.bytes)
		}
		k++
	}
	if k > 0 {
		rest := copy(o.segments, o.segments[k:])
		clear(o.segments[rest:])
		o.segments = o.segments[:rest]
	}
}
