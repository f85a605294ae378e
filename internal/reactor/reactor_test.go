package reactor

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo writes back what arrives and reports its events.
type echo struct {
	opened  func(c *Conn)
	onData  func(c *Conn, p []byte) int
	onAlarm func(c *Conn)
	drained func(c *Conn)
	closed  func(c *Conn, err error)
}

func (e *echo) OnOpen(c *Conn) {
	if e.opened != nil {
		e.opened(c)
	}
}

func (e *echo) OnData(c *Conn, p []byte) int {
	if e.onData != nil {
		return e.onData(c, p)
	}
	c.Write(p)
	return len(p)
}

func (e *echo) OnAlarm(c *Conn) {
	if e.onAlarm != nil {
		e.onAlarm(c)
	}
}

func (e *echo) OnDrained(c *Conn) {
	if e.drained != nil {
		e.drained(c)
	}
}

func (e *echo) OnClose(c *Conn, err error) {
	if e.closed != nil {
		e.closed(c, err)
	}
}

// serve starts a group of two loops on a free port whose connections are handled by h.
func serve(t *testing.T, config Config, h func(l *Loop) Handler) *Group {
	t.Helper()
	config.Listen = "127.0.0.1:0"
	config.NewHandler = h
	if config.Loops == 0 {
		config.Loops = 2
	}
	g, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func connect(t *testing.T, g *Group) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func await[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

func TestEchoOfManyConnections(t *testing.T) {
	g := serve(t, Config{}, func(*Loop) Handler { return &echo{} })
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			c := connect(t, g)
			want := bytes.Repeat([]byte{byte(i)}, 1000+i)
			for range 20 {
				if _, err := c.Write(want); err != nil {
					t.Error(err)
					return
				}
				got := make([]byte, len(want))
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("connection %d: echo differs (%v)", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if s := g.Stats(); s.Accepted != 50 {
		t.Errorf("accepted %d, want 50", s.Accepted)
	}
}

// A peer that does not read fills the socket; everything arrives in order when it does read,
// and then no buffer stays lent.
func TestBackpressureKeepsOrderAndReturnsBuffers(t *testing.T) {
	const frames, size = 300, 100_000
	drained := make(chan bool, 1)
	want := sha256.New()
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{
			opened: func(c *Conn) {
				for i := range frames {
					b := bytes.Repeat([]byte{byte(i), byte(i >> 8)}, size/2)
					want.Write(b)
					if i%2 == 0 {
						c.Share(b)
					} else {
						c.Write(b)
					}
				}
			},
			drained: func(c *Conn) { drained <- c.Pending() == 0 },
		}
	})
	c := connect(t, g)
	got := sha256.New()
	if _, err := io.CopyN(got, c, frames*size); err != nil {
		t.Fatal(err)
	}
	if !await(t, drained, "OnDrained") {
		t.Error("OnDrained came with bytes pending")
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Error("the bytes arrived changed or out of order")
	}
	if s := g.Stats(); s.Lent != 0 {
		t.Errorf("%d buffers are lent to an idle connection", s.Lent)
	}
}

func TestUnconsumedBytesAreOfferedAgain(t *testing.T) {
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{onData: func(c *Conn, p []byte) int { // echoes whole lines only
			n := bytes.LastIndexByte(p, '\n') + 1
			c.Write(p[:n])
			return n
		}}
	})
	c := connect(t, g)
	for _, part := range []string{"a", "bc", "d\nef", "g\n"} {
		if _, err := c.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
		g.Each(func(*Loop) {}) // a turn between the parts, so that they are seen apart
	}
	got := make([]byte, len("abcd\nefg\n"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "abcd\nefg\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	if s := g.Stats(); s.Lent != 0 {
		t.Errorf("%d buffers are lent to an idle connection", s.Lent)
	}
}

func TestPauseLeavesBytesAndResumeOffersThem(t *testing.T) {
	conns := make(chan *Conn, 1)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		first := true
		return &echo{onData: func(c *Conn, p []byte) int {
			if first {
				first = false
				c.PauseReading()
				conns <- c
				return 0
			}
			c.Write(p)
			return len(p)
		}}
	})
	peer := connect(t, g)
	if _, err := peer.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	c := await(t, conns, "the first bytes")
	if _, err := peer.Write([]byte(" late")); err != nil {
		t.Fatal(err)
	}
	c.Loop().Post(TaskFunc(func(*Loop) { c.ResumeReading() }))
	got := make([]byte, 10)
	if _, err := io.ReadFull(peer, got); err != nil || string(got) != "early late" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestFinishDeliversEverythingBeforeTheEnd(t *testing.T) {
	const size = 5 << 20
	ended := make(chan error, 1)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{
			onData: func(c *Conn, p []byte) int {
				c.Write(make([]byte, size))
				c.Finish()
				return len(p)
			},
			closed: func(_ *Conn, err error) { ended <- err },
		}
	})
	c := connect(t, g)
	if _, err := c.Write([]byte("go")); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, c); err != nil || n != size {
		t.Fatalf("read %d of %d bytes: %v", n, size, err)
	}
	_ = c.Close()
	if err := await(t, ended, "OnClose"); !errors.Is(err, ErrClosed) {
		t.Errorf("OnClose got %v, want ErrClosed", err)
	}
}

func TestCloseReasons(t *testing.T) {
	ended := make(chan error, 1)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		return &echo{closed: func(_ *Conn, err error) { ended <- err }}
	})
	t.Run("peer ends", func(t *testing.T) {
		_ = connect(t, g).Close()
		if err := await(t, ended, "OnClose"); !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want io.EOF", err)
		}
	})
	t.Run("peer resets", func(t *testing.T) {
		c := connect(t, g).(*net.TCPConn)
		if err := c.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		g.Each(func(*Loop) {})
		_ = c.Close()
		if err := await(t, ended, "OnClose"); err == nil || errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want the reset", err)
		}
	})
	t.Run("group closes", func(t *testing.T) {
		c := connect(t, g)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		g.Close()
		if err := await(t, ended, "OnClose"); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		if g.Loops()[0].Post(TaskFunc(func(*Loop) {})) {
			t.Error("a loop that has ended took a post")
		}
	})
}

func TestAlarmRingsOnceAndMoves(t *testing.T) {
	type ring struct{ after time.Duration }
	rings := make(chan ring, 10)
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler {
		var start time.Time
		moved := false
		return &echo{
			opened: func(c *Conn) {
				start = time.Now()
				c.SetAlarm(time.Hour)              // brought forward
				c.SetAlarm(100 * time.Millisecond) // put off
				c.SetAlarm(500 * time.Millisecond)
			},
			onAlarm: func(c *Conn) {
				rings <- ring{time.Since(start)}
				if !moved {
					moved = true
					c.SetAlarm(200 * time.Millisecond)
				}
			},
		}
	})
	connect(t, g)
	if r := await(t, rings, "the alarm"); r.after < 400*time.Millisecond {
		t.Errorf("rang after %v: it was put off to 500ms", r.after)
	}
	if r := await(t, rings, "the second alarm"); r.after < 500*time.Millisecond {
		t.Errorf("second ring after %v", r.after)
	}
}

func TestPostsRunInOrder(t *testing.T) {
	g := serve(t, Config{Loops: 1}, func(*Loop) Handler { return &echo{} })
	l := g.Loops()[0]
	const n = 10_000
	var seen []int
	done := make(chan struct{})
	for i := range n {
		l.Post(TaskFunc(func(*Loop) {
			if seen = append(seen, i); len(seen) == n {
				close(done)
			}
		}))
	}
	await(t, done, "the posts")
	for i, v := range seen {
		if i != v {
			t.Fatalf("post %d ran as number %d", v, i)
		}
	}
}

func TestDial(t *testing.T) {
	g := serve(t, Config{}, func(*Loop) Handler { return &echo{} })
	client, err := Start(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	dial := func(addr netip.AddrPort, h Handler) {
		client.Loops()[0].Post(TaskFunc(func(l *Loop) {
			if _, err := l.Dial(addr, netip.MustParseAddr("127.0.0.2"), h); err != nil {
				t.Error(err)
			}
		}))
	}
	t.Run("answered", func(t *testing.T) {
		got := make(chan string, 1)
		dial(g.Addr(), &echo{
			opened: func(c *Conn) { c.Write([]byte("hi from " + c.Loop().addrOf(c))) },
			onData: func(_ *Conn, p []byte) int { got <- string(p); return len(p) },
		})
		if s := await(t, got, "the echo"); s != "hi from 127.0.0.1" {
			t.Errorf("got %q", s)
		}
	})
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		ended := make(chan error, 1)
		dial(netip.MustParseAddrPort(l.Addr().String()), &echo{
			opened: func(*Conn) { t.Error("OnOpen of a refused dial") },
			closed: func(_ *Conn, err error) { ended <- err },
		})
		if err := await(t, ended, "OnClose"); err == nil {
			t.Error("no error")
		}
	})
}

func (l *Loop) addrOf(c *Conn) string { return c.RemoteAddr().Addr().String() }

// There are more connections than one table could hold: each loop has its own table, and the loops still
// wake each other.
func TestPrivateTables(t *testing.T) {
	limit, err := raiseLimit()
	if err != nil {
		t.Fatal(err)
	}
	var opened atomic.Int32
	var group atomic.Pointer[Group]
	g := serve(t, Config{MaxConnections: limit + 1}, func(l *Loop) Handler {
		return &echo{opened: func(c *Conn) {
			opened.Add(1)
			loops := group.Load().Loops()
			next := loops[(l.Index()+1)%len(loops)]
			next.Post(TaskFunc(func(*Loop) {
				l.Post(TaskFunc(func(*Loop) { c.Write([]byte("!")) }))
			}))
		}}
	})
	group.Store(g)
	if !g.Private() || len(g.Loops()) < 2 {
		t.Fatalf("private %v with %d loops", g.Private(), len(g.Loops()))
	}
	for range 100 {
		c := connect(t, g)
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 100 {
		t.Errorf("opened %d, want 100", n)
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		loops, conns, limit int
		wantLoops           int
		wantPrivate         bool
		wantErr             string // empty if it fits
	}{
		{2, 0, 20_000, 2, false, ""},
		{2, 19_000, 20_000, 2, false, ""},
		{2, 20_000, 20_000, 2, true, ""},
		{2, 100_000, 20_000, 6, true, ""},
		{2, 1_000_000, 20_000, 53, true, ""},
		{4, 1_000_000, 1 << 20, 4, false, ""},
		{2, 100, 256, 2, false, ""},
		{2, 200, 64, 10, true, ""},
		{2, 0, 1, 2, false, ""},
		{2, 100_000, 1024, 174, true, ""},
		{2, 100_000, 512, 0, false, "100000 connections need 916, and it is 512, for at most 15876 connections"},
		{2, 100_000, 64, 0, false, "100000 connections need 916, and it is 64, for at most 240 connections"},
		{2, math.MaxInt, 1 << 20, 0, false, "more than any limit allows"},
		{1000, 10, 1 << 20, 0, false, "at most 256"},
	} {
		n, private, err := plan(c.loops, c.conns, c.limit)
		if n != c.wantLoops || private != c.wantPrivate {
			t.Errorf("plan(%d, %d, %d) = %d, %v, want %d, %v", c.loops, c.conns, c.limit, n, private, c.wantLoops, c.wantPrivate)
		}
		if (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
			t.Errorf("plan(%d, %d, %d): %v, want %q", c.loops, c.conns, c.limit, err, c.wantErr)
		}
		if n > MaxLoops {
			t.Errorf("plan(%d, %d, %d): %d loops", c.loops, c.conns, c.limit, n)
		}
	}
}

func TestStartNamesWhatIsWrong(t *testing.T) {
	h := func(*Loop) Handler { return &echo{} }
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	ours := serve(t, Config{}, h)
	for _, listen := range []string{"nonsense", "127.0.0.1:99999", other.Addr().String(), ours.Addr().String()} {
		if g, err := Start(Config{Listen: listen, NewHandler: h}); err == nil {
			g.Close()
			t.Errorf("Start on %q succeeded", listen)
		} else if !bytes.Contains([]byte(err.Error()), []byte(listen)) {
			t.Errorf("error %q does not name %q", err, listen)
		}
	}
}

func TestWorkersAreBounded(t *testing.T) {
	w := NewWorkers(2, 3)
	release := make(chan struct{})
	started := make(chan struct{}, 2)
	var ran atomic.Int32
	for range 2 {
		w.Do(func() { started <- struct{}{}; <-release; ran.Add(1) })
	}
	await(t, started, "a worker")
	await(t, started, "a worker")
	for range 3 {
		if !w.Do(func() { ran.Add(1) }) {
			t.Error("refused with room in the queue")
		}
	}
	if w.Do(func() {}) {
		t.Error("took a job beyond the queue")
	}
	close(release)
	w.Close()
	if n := ran.Load(); n != 5 {
		t.Errorf("%d jobs ran, want 5", n)
	}
}

// A job that rests makes room for another, up to a bound, and continues at once.
func TestWorkersRest(t *testing.T) {
	w := NewWorkers(1, 1)
	defer w.Close()
	rested, release := make(chan struct{}), make(chan struct{})
	rest := func() {
		w.Rest()
		rested <- struct{}{}
		<-release
		w.Resume()
	}
	for range restsEach {
		if !w.Do(rest) {
			t.Fatal("refused beside those that rest")
		}
		await(t, rested, "a job that rests")
	}
	ran := make(chan struct{})
	if !w.Do(func() { close(ran) }) || w.Do(func() {}) {
		t.Error("too many rest: one more waits, and others are refused")
	}
	if s := w.Stats(); s.Resting != restsEach || s.Running != 0 || s.Waiting != 1 || s.Refused != 1 {
		t.Errorf("%+v", s)
	}
	close(release)
	await(t, ran, "the job that waited")
}
