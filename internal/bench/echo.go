package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/longline/longline/internal/websocket"
)

// echo is the traffic of an echo server.
type echo struct {
	everyone
	message []byte // the next message; from MinSize on, all messages are the same
}

func newEcho(l *lane, size int) traffic { return &echo{everyone{l}, pattern(size)} }

// pattern returns a message whose first MinSize bytes are not set yet.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func (e *echo) send(c *conn, since time.Duration) {
	stamp(e.message, c, since)
	c.write(websocket.Binary, e.message)
}

// stamp writes the next message of c into b. The message's latency counts from since.
func stamp(b []byte, c *conn, since time.Duration) {
	binary.LittleEndian.PutUint32(b, c.number)
	binary.LittleEndian.PutUint32(b[4:], c.sent)
	binary.LittleEndian.PutUint64(b[8:], uint64(since))
}

func (e *echo) answer(c *conn, p []byte) (of *conn, since time.Duration, err error) {
	switch {
	case len(p) != len(e.message):
		return nil, 0, fmt.Errorf("an answer of %d bytes to a message of %d", len(p), len(e.message))
	case binary.LittleEndian.Uint32(p) != c.number:
		return nil, 0, fmt.Errorf("the answer to connection %d", binary.LittleEndian.Uint32(p))
	case binary.LittleEndian.Uint32(p[4:]) != c.got || c.got == c.sent:
		return nil, 0, fmt.Errorf("the answer to message %d, want that to %d of %d", binary.LittleEndian.Uint32(p[4:]), c.got, c.sent)
	case !bytes.Equal(p[MinSize:], e.message[MinSize:]):
		return nil, 0, fmt.Errorf("the answer to message %d has other bytes", c.got)
	}
	return c, time.Duration(binary.LittleEndian.Uint64(p[8:])), nil
}
