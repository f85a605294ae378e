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
	message []byte // the next one; from MinSize on, the same in all
}

func newEcho(_ *lane, size int) traffic {
	e := &echo{make([]byte, size)}
	for i := range e.message {
		e.message[i] = byte(i)
	}
	return e
}

func (e *echo) send(c *conn, since time.Duration) {
	binary.LittleEndian.PutUint32(e.message, c.number)
	binary.LittleEndian.PutUint32(e.message[4:], c.sent)
	binary.LittleEndian.PutUint64(e.message[8:], uint64(since))
	c.write(websocket.Binary, e.message)
}

func (e *echo) answer(c *conn, p []byte) (since time.Duration, err error) {
	switch {
	case len(p) != len(e.message):
		return 0, fmt.Errorf("an answer of %d bytes to a message of %d", len(p), len(e.message))
	case binary.LittleEndian.Uint32(p) != c.number:
		return 0, fmt.Errorf("the answer to connection %d", binary.LittleEndian.Uint32(p))
	case binary.LittleEndian.Uint32(p[4:]) != c.got || c.got == c.sent:
		return 0, fmt.Errorf("the answer to message %d, want that to %d of %d", binary.LittleEndian.Uint32(p[4:]), c.got, c.sent)
	case !bytes.Equal(p[MinSize:], e.message[MinSize:]):
		return 0, fmt.Errorf("the answer to message %d has other bytes", c.got)
	}
	return time.Duration(binary.LittleEndian.Uint64(p[8:])), nil
}
