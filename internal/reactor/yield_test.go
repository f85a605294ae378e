package reactor

import (
	"io"
	"testing"
)

// While a connection yields, the loop serves others. The connection is then offered what it left, and not read
// before that.
func TestYield(t *testing.T) {
	heard, first := false, make(chan int, 1) // heard is the loop's
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{onData: func(c *Conn, p []byte) int {
			switch {
			case string(p) == "other":
				heard = true
			case !heard:
				select {
				case first <- len(p):
				default:
				}
				if string(p) != "early" {
					t.Errorf("offered %q", p)
				}
				c.Yield()
				return 0
			}
			c.Write(p)
			return len(p)
		}}
	})
	busy, other := connect(t, g), connect(t, g)
	for _, s := range []string{"early", " late"} {
		if _, err := io.WriteString(busy, s); err != nil {
			t.Fatal(err)
		}
		if s == "early" {
			await(t, first, "the first bytes")
		}
	}
	if _, err := io.WriteString(other, "other"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if _, err := io.ReadFull(other, got[:5]); err != nil || string(got[:5]) != "other" {
		t.Fatalf("got %q, %v", got[:5], err)
	}
	if _, err := io.ReadFull(busy, got); err != nil || string(got) != "early late" {
		t.Fatalf("got %q, %v", got, err)
	}
}

// Between many posts, the loop serves its connections.
func TestPostsDoNotStarveSockets(t *testing.T) {
	const posts = 10 * postsPerTurn
	ran, heard := 0, make(chan int, 1) // ran is the loop's
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{onData: func(_ *Conn, p []byte) int {
			heard <- ran
			return len(p)
		}}
	})
	c := connect(t, g)
	l, begun, sent, all := g.Loops()[0], make(chan bool), make(chan bool), make(chan bool)
	l.Post(TaskFunc(func(l *Loop) {
		l.Post(TaskFunc(func(*Loop) { close(begun); <-sent }))
		for range posts {
			l.Post(TaskFunc(func(*Loop) {
				if ran++; ran == posts {
					close(all)
				}
			}))
		}
	}))
	await(t, begun, "the first post")
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	close(sent)
	if n := await(t, heard, "the byte"); n > postsPerTurn {
		t.Errorf("%d posts ran before the byte was read", n)
	}
	await(t, all, "the other posts")
}

// A handler that keeps data itself is called again after Yield, even if it left nothing.
func TestResumeAndYieldAskWithNothingLeft(t *testing.T) {
	asked := make(chan int, 3)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{onData: func(c *Conn, p []byte) int {
			asked <- len(p)
			switch len(asked) {
			case 1:
				c.PauseReading()
				c.Loop().Post(TaskFunc(func(*Loop) { c.ResumeReading() }))
			case 2:
				c.Yield()
			case 3:
				c.Close()
			}
			return len(p)
		}}
	})
	c := connect(t, g)
	if _, err := io.WriteString(c, "four"); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	for _, want := range []int{4, 0, 0} {
		if got := await(t, asked, "a call"); got != want {
			t.Errorf("asked with %d bytes, want %d", got, want)
		}
	}
}

// The rest of a large read is kept in a buffer of its own size.
func TestLittleIsKeptInASmallBuffer(t *testing.T) {
	const much = 200_000
	kept := make(chan int, 1)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{onData: func(c *Conn, p []byte) int {
			if len(p) < much {
				return 0
			}
			c.Loop().Post(TaskFunc(func(*Loop) {
				if string(c.in.bytes) != "!" {
					t.Errorf("%q is kept", c.in.bytes)
				}
				kept <- cap(c.in.bytes)
			}))
			return len(p) - 1
		}}
	})
	c := connect(t, g)
	if _, err := c.Write(append(make([]byte, much-1), '!')); err != nil {
		t.Fatal(err)
	}
	if n := await(t, kept, "the end"); n > smallBuffer {
		t.Errorf("a byte is kept in %d", n)
	}
}
