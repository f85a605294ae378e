package pump_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
)

// tcpServer is a server that takes lines, and answers each with a byte.
type tcpServer struct {
	listener net.Listener

	mu    sync.Mutex
	conns []net.Conn
	lives int                 // it was killed so many times
	lines map[string][][]byte // by place: what outlives a kill
}

func (s *tcpServer) start(t testing.TB, _ string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.listener = l
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			go s.serve(c, s.lives)
			s.mu.Unlock()
		}
	}()
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func (s *tcpServer) serve(c net.Conn, life int) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		var text [2][]byte
		for i := range text {
			var size uint32
			if binary.Read(r, binary.BigEndian, &size) != nil {
				return
			}
			text[i] = make([]byte, size)
			if _, err := io.ReadFull(r, text[i]); err != nil {
				return
			}
		}
		answer := []byte{'+'}
		if string(text[1]) == bad {
			answer[0] = '-'
		} else {
			s.mu.Lock()
			if s.lives == life {
				s.lines[string(text[0])] = append(s.lines[string(text[0])], text[1])
			}
			s.mu.Unlock()
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

func (s *tcpServer) kill(testing.TB) {
	_ = s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
	s.lives++
}

func (s *tcpServer) read(_ testing.TB, where string) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[where]
}

const bad = "bad"

// tcpTarget has a connection per lane.
type tcpTarget struct {
	address, where string
	idle           chan net.Conn
}

func (c *tcpTarget) Prepare(v *route.View, r *pump.Record) error {
	value, contentType, err := v.Encoded()
	r.Value, r.ContentType = value, contentType
	return err
}

func (c *tcpTarget) Send(ctx context.Context, records []*pump.Record) (done int, err error) {
	var conn net.Conn
	select {
	case conn = <-c.idle:
	default:
		if conn, err = net.Dial("tcp", c.address); err != nil {
			return 0, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	var out []byte
	for _, r := range records {
		for _, text := range []string{c.where, string(r.Value)} {
			out = binary.BigEndian.AppendUint32(out, uint32(len(text)))
			out = append(out, text...)
		}
	}
	answers := make([]byte, len(records))
	n := 0
	if _, err = conn.Write(out); err == nil {
		n, err = io.ReadFull(conn, answers)
	}
	answers = answers[:n]
	for i, a := range answers {
		if a != '+' { // those behind it are written: they come again
			_ = conn.Close()
			return i, pump.Refused(fmt.Errorf("the server says %c", a))
		}
	}
	if err != nil {
		_ = conn.Close()
		return len(answers), err
	}
	select {
	case c.idle <- conn:
	default:
		_ = conn.Close()
	}
	return len(records), nil
}

func (c *tcpTarget) Close() {
	for len(c.idle) > 0 {
		_ = (<-c.idle).Close()
	}
}

func TestContract(t *testing.T) {
	s := &tcpServer{lines: make(map[string][][]byte)}
	sinktest.Run(t, sinktest.Server{
		Start: s.start, Kill: s.kill, Read: s.read, Bad: []byte(bad),
		Open: func(_ testing.TB, proxy, where string, o pump.Options) pump.Target {
			return &tcpTarget{address: proxy, where: where, idle: make(chan net.Conn, o.Lanes)}
		},
	})
}
