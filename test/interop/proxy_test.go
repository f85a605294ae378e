package interop

import (
	"math"
	"net"
	"sync"
	"testing"
)

// proxy stands for the network between a device and the gateway.
type proxy struct {
	listener net.Listener
	target   string

	// Guarded by mu.
	mu    sync.Mutex
	down  bool
	conns []net.Conn
	cuts  []int64 // see breakAfter
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target}
	t.Cleanup(func() { _ = listener.Close(); p.cut() })
	go p.accept()
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil || !p.add(near, far) {
			_ = near.Close()
			continue
		}
		b := p.budget()
		go pipe(near, far, b)
		go pipe(far, near, b)
	}
}

// add adds a connection, unless the network is down.
func (p *proxy) add(near, far net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		_ = far.Close()
		return false
	}
	p.conns = append(p.conns, near, far)
	return true
}

// breakAfter makes the next connections break after so many bytes in both directions.
func (p *proxy) breakAfter(bytes ...int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = bytes
}

// budget returns the budget of the next connection.
func (p *proxy) budget() *budget {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &budget{left: math.MaxInt64}
	if len(p.cuts) > 0 {
		b.left, p.cuts = p.cuts[0], p.cuts[1:]
	}
	return b
}

// budget is how many bytes a connection carries before it breaks.
type budget struct {
	mu   sync.Mutex
	left int64
}

// take returns how many of n bytes are within the budget.
func (b *budget) take(n int) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n64 := min(int64(n), b.left)
	b.left -= n64
	return n64
}

// pipe copies bytes until the connection ends or its budget is used up.
func pipe(to, from net.Conn, b *budget) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		within := b.take(n)
		if _, failed := to.Write(buf[:within]); err != nil || failed != nil || within < int64(n) {
			return
		}
	}
}

// cut closes all connections and accepts no more.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}
