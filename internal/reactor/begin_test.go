package reactor

import (
	"errors"
	"io"
	"net"
	"testing"
)

// With ClientsBegin, silent clients are accepted too, a little later: a client that only
// checks that the port is open finds it open, whether it waits or closes at once.
func TestClientsBegin(t *testing.T) {
	events := make(chan string, 10)
	g := serve(t, Config{Loops: 1, ClientsBegin: true}, func(*Loop) Handler {
		return &echo{
			opened: func(*Conn) { events <- "open" },
			onData: func(_ *Conn, p []byte) int { events <- string(p); return len(p) },
			closed: func(_ *Conn, err error) {
				if errors.Is(err, io.EOF) {
					events <- "end"
				}
			},
		}
	})
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := await(t, events, w); got != w {
				t.Errorf("got %s, want %s", got, w)
			}
		}
	}
	talker := connect(t, g)
	write(t, talker, "hello")
	expect("open", "hello")
	silent := connect(t, g)
	expect("open")
	write(t, silent, "at last")
	expect("at last")
	check, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := check.Close(); err != nil {
		t.Fatal(err)
	}
	expect("open", "end")
}

// epoll is not told of a pause that ends before anything arrives, and is told once of any other, so
// that the loop does not wake for what it does not read.
func TestPauseIsToldWhenSomethingComes(t *testing.T) {
	conns := make(chan *Conn, 1)
	heard := make(chan string, 1)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{
			opened: func(c *Conn) { c.PauseReading(); conns <- c },
			onData: func(_ *Conn, p []byte) int {
				if len(p) > 0 {
					heard <- string(p)
				}
				return len(p)
			},
		}
	})
	client := connect(t, g)
	c := await(t, conns, "OnOpen")
	told := func() (is bool) {
		g.Each(func(*Loop) { is = c.is(noInput) })
		return is
	}
	if told() {
		t.Error("epoll was told although nothing came")
	}
	write(t, client, "x")
	for !told() { // the test's time ends it
	}
	g.Each(func(*Loop) { c.ResumeReading() })
	if got := await(t, heard, "what was sent in the pause"); got != "x" || told() {
		t.Errorf("got %q; epoll is still told: %v", got, told())
	}
}
