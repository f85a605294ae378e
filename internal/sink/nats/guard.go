package nats

import (
	"bytes"
	"errors"
	"net"
	"strconv"
)

// guard is a connection that ends when the server announces a message that no answer to this sink is. The client makes room for it before it has come, and
// panics if it is too large: a broken server, or somebody in its place, could end the process. It sees nothing within TLS, which says who the server is.
type guard struct {
	net.Conn

	// Owned by the client's reader.
	line      []byte // the beginning of a line
	skip      int64  // bytes of a message that are still to come
	encrypted bool
}

const (
	mostLine    = 1 << 20
	mostMessage = 1 << 20
	tlsRecord   = 0x16 // the first byte that a server sends when TLS begins; no line has it
)

var errNotNATS = errors.New("the server announces a message that no answer is")

// Read implements net.Conn.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if wrong := g.see(p[:n]); wrong != nil {
		_ = g.Close()
		return 0, wrong
	}
	return n, err
}

// see looks at what has come.
func (g *guard) see(p []byte) error {
	for len(p) > 0 && !g.encrypted {
		if n := min(int64(len(p)), g.skip); n > 0 {
			g.skip, p = g.skip-n, p[n:]
			continue
		}
		if g.encrypted = len(g.line) == 0 && p[0] == tlsRecord; g.encrypted {
			return nil
		}
		end := bytes.IndexByte(p, '\n') + 1
		n := end
		if end == 0 {
			n = len(p)
		}
		if g.line = append(g.line, p[:n]...); len(g.line) > mostLine {
			return errNotNATS
		}
		if p = p[n:]; end == 0 {
			return nil
		}
		if err := g.announced(); err != nil {
			return err
		}
		g.line = g.line[:0]
	}
	return nil
}

// announced looks at a line. MSG and HMSG have the size of the message that follows at their end.
func (g *guard) announced() error {
	words := bytes.Fields(g.line)
	if len(words) == 0 || !bytes.EqualFold(words[0], []byte("MSG")) && !bytes.EqualFold(words[0], []byte("HMSG")) {
		return nil
	}
	n, err := strconv.ParseInt(string(words[len(words)-1]), 10, 64)
	if err != nil || n < 0 || n > mostMessage {
		return errNotNATS
	}
	g.skip = n + int64(len("\r\n"))
	return nil
}
