package clients

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// parting is a connection of WebSocket that its user can be parted from: for the user it has failed, for the gateway it is as it was.
type parting struct {
	*net.TCPConn
	frames frames // owned by whoever reads: the user, then the goroutine of keep
	parted atomic.Bool
	kept   sync.Once
	closed atomic.Bool
	old    atomic.Pointer[old]
}

var errParted = errors.New("parted from the connection")

// part makes the connection fail for its user.
func (c *parting) part() {
	c.parted.Store(true)
	_ = c.SetReadDeadline(time.Now())
}

func (c *parting) Read(p []byte) (int, error) {
	if c.parted.Load() {
		return 0, errParted
	}
	n, err := c.TCPConn.Read(p)
	c.frames.see(p[:n], c.got)
	return n, err
}

func (c *parting) Write(p []byte) (int, error) {
	if c.parted.Load() {
		return 0, errParted
	}
	return c.TCPConn.Write(p)
}

// SetReadDeadline keeps the deadline of part.
func (c *parting) SetReadDeadline(t time.Time) error {
	if c.parted.Load() {
		t = time.Now()
	}
	return c.TCPConn.SetReadDeadline(t)
}

// Close closes the connection, unless its user was parted from it: then it is read until the gateway closes it.
func (c *parting) Close() error {
	if !c.parted.Load() {
		c.closed.Store(true)
		return c.TCPConn.Close()
	}
	c.kept.Do(func() { go c.keep() })
	return nil
}

func (c *parting) keep() {
	_ = c.TCPConn.SetReadDeadline(time.Time{})
	piece := make([]byte, 4<<10)
	for {
		n, err := c.TCPConn.Read(piece)
		c.frames.see(piece[:n], c.got)
		if err != nil {
			c.end()
			return
		}
	}
}

// supersede notes that the next connection was accepted.
func (c *parting) supersede(s *Superseded, client string) {
	o := s.add(client, c, c.RemoteAddr())
	c.old.Store(o)
	if c.closed.Load() {
		o.ended()
	}
}

// got notes a frame on a connection whose user was parted from it. It ends with the gateway's close frame.
func (c *parting) got(opcode byte, end int64) {
	const control, closes = 8, 8
	switch o := c.old.Load(); {
	case !c.parted.Load():
	case opcode == closes:
		c.end()
	case o != nil && opcode < control:
		o.got(end, fmt.Sprintf("a frame of opcode %d", opcode))
	}
}

// end closes the connection.
func (c *parting) end() {
	_ = c.TCPConn.Close()
	c.closed.Store(true)
	if o := c.old.Load(); o != nil {
		o.ended()
	}
}

// frames goes through what a server of WebSocket sends: the answer to the handshake, and frames.
type frames struct {
	shaken bool
	head   []byte // of the handshake's answer, or of a frame
	skip   int64  // bytes of the frame's payload that are still to come
	offset int64
}

// see looks at the next bytes. got is called at the end of each frame, with the number of bytes up to there.
func (f *frames) see(p []byte, got func(opcode byte, end int64)) {
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(f.skip, int64(len(p)))
			f.skip, f.offset, p = f.skip-n, f.offset+n, p[n:]
		} else {
			f.head = append(f.head, p[0])
			f.offset, p = f.offset+1, p[1:]
			if !f.complete() {
				continue
			}
		}
		if f.skip == 0 && f.shaken && len(f.head) > 0 {
			got(f.head[0]&0xf, f.offset)
			f.head = f.head[:0]
		}
	}
}

// complete reports whether the head is complete, and sets skip.
func (f *frames) complete() bool {
	h := f.head
	if !f.shaken {
		if n := len(h); n >= 4 && string(h[n-4:]) == "\r\n\r\n" {
			f.shaken, f.head = true, h[:0]
		}
		return false
	}
	if len(h) < 2 {
		return false
	}
	size := 2
	switch h[1] & 0x7f { // a server masks nothing: RFC 6455 §5.1
	case 126:
		size = 4
	case 127:
		size = 10
	default:
		f.skip = int64(h[1] & 0x7f)
	}
	if len(h) < size {
		f.skip = 0
		return false
	}
	for _, b := range h[2:size] {
		f.skip = f.skip<<8 | int64(b)
	}
	return true
}
