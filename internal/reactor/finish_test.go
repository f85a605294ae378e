package reactor

import "testing"

// A peer that goes on sending to a connection that finishes is not read for long: only what it has sent by then
// is read.
func TestFinishLeavesAFloodInTheKernel(t *testing.T) {
	closed := make(chan error, 1)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{
			opened: func(c *Conn) { c.Finish() },
			closed: func(_ *Conn, err error) { closed <- err },
		}
	})
	c := connect(t, g)
	for block := make([]byte, 1<<20); ; {
		if _, err := c.Write(block); err != nil {
			break // it was closed
		}
	}
	_ = await(t, closed, "OnClose")
	const most = 16 << 20 // in a second of a loopback's gigabytes
	if n := g.Stats().BytesIn; n > most {
		t.Errorf("%d bytes were read, want %d at most", n, most)
	}
}
