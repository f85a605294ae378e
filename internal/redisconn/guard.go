package redisconn

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// Bounds are how large an answer may be.
type Bounds struct {
	Text   int // bytes of one text in it
	Answer int // bytes of all of it
}

// guard is a connection that ends when the server sends what no answer to the gateway is. The client makes room for what a server announces before
// that has come, and panics if it announces too much: a broken server, or somebody in its place, could end the process.
type guard struct {
	net.Conn
	most Bounds // static

	// Owned by the client's reader.
	line  []byte  // the beginning of a line
	skip  int64   // bytes of a text that are still to come
	open  []int64 // values that are still to come, of each list within a list
	bytes int     // of this answer
}

// Bounds of any answer.
const (
	mostLine   = 64 << 10
	mostValues = 1 << 17 // a batch may have 100,000 records
	mostOpen   = 8
)

var errNotRedis = errors.New("what answers is no Redis")

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
	for len(p) > 0 {
		if len(g.open) == 0 && len(g.line) == 0 && g.skip == 0 {
			g.bytes = 0
		}
		n := min(int64(len(p)), g.skip)
		if n == 0 {
			end := bytes.IndexByte(p, '\n') + 1
			if n = int64(end); end == 0 {
				n = int64(len(p))
			}
			if g.line = append(g.line, p[:n]...); len(g.line) > mostLine {
				return errNotRedis
			}
			if end > 0 {
				if err := g.header(g.line); err != nil {
					return err
				}
				g.line = g.line[:0]
			}
		} else {
			g.skip -= n
		}
		if g.bytes += int(n); g.bytes > g.most.Answer {
			return fmt.Errorf("the server's answer has more than %d bytes", g.most.Answer)
		}
		p = p[n:]
	}
	return nil
}

// header looks at a line, which begins a value.
func (g *guard) header(line []byte) error {
	text := bytes.TrimRight(line[1:], "\r\n")
	switch line[0] {
	case '+', '-', ':', '_', '#', ',', '(':
	case '$', '=', '!':
		n, err := announced(text, int64(g.most.Text))
		if err != nil {
			return err
		}
		if n >= 0 {
			g.skip = n + int64(len("\r\n"))
		}
	case '*', '~', '>', '%':
		n, err := announced(text, mostValues)
		if err != nil {
			return err
		}
		if line[0] == '%' {
			n *= 2
		}
		if n > 0 {
			if g.open = append(g.open, n); len(g.open) > mostOpen {
				return fmt.Errorf("the server's answer has more than %d lists within lists", mostOpen)
			}
			return nil
		}
	default:
		return errNotRedis
	}
	for last := len(g.open) - 1; last >= 0; last-- { // a value is there
		if g.open[last]--; g.open[last] > 0 {
			break
		}
		g.open = g.open[:last]
	}
	return nil
}

// announced returns how many bytes or values a server announces; -1 means null.
func announced(text []byte, most int64) (int64, error) {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, errNotRedis
	}
	if n < -1 || n > most {
		return 0, fmt.Errorf("the server announces %d bytes or values, and no answer has more than %d", n, most)
	}
	return n, nil
}
