package sinktest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy carries TCP connections to a server, and can cut them. Its methods are safe from any goroutine.
type Proxy struct {
	// Static after construction.
	listener net.Listener

	mu sync.Mutex
	// Guarded by mu.
	to     string // the server's address; empty while there is none
	conns  map[net.Conn]struct{}
	silent chan struct{} // closed when bytes go on; nil while they do
	closed bool
}

// NewProxy returns a proxy that listens, and refuses connections until To is called. It ends with the test.
func NewProxy(t testing.TB) *Proxy {
	t.Helper()
	p, err := ListenProxy()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// ListenProxy is NewProxy for programs. The caller closes the proxy.
func ListenProxy() (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, conns: make(map[net.Conn]struct{})}
	go p.accept()
	return p, nil
}

// Address returns where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// To makes the proxy carry new connections to a server; with an empty address it refuses them.
func (p *Proxy) To(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = address
}

// Cut ends all connections, in the middle of whatever they carry.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(p.conns)
}

// Silence stops all bytes, without a word, until Go.
func (p *Proxy) Silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent == nil {
		p.silent = make(chan struct{})
	}
}

// Go makes bytes go on after Silence.
func (p *Proxy) Go() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent != nil {
		close(p.silent)
		p.silent = nil
	}
}

// Close ends the proxy and all connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Go()
	p.Cut()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.carry(c)
	}
}

// carry carries a connection until one of its sides ends.
func (p *Proxy) carry(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	if to == "" {
		return
	}
	server, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	if !p.hold(client, server) {
		return
	}
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		go func() {
			_, _ = io.Copy(gate{p, way[1]}, way[0])
			ended <- struct{}{}
		}()
	}
	<-ended
	p.mu.Lock()
	delete(p.conns, client)
	delete(p.conns, server)
	p.mu.Unlock()
}

// hold notes connections that Cut ends; false after the end.
func (p *Proxy) hold(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

// gate is a writer that waits while the proxy is silent.
type gate struct {
	proxy *Proxy
	io.Writer
}

func (g gate) Write(b []byte) (int, error) {
	g.proxy.mu.Lock()
	silent := g.proxy.silent
	g.proxy.mu.Unlock()
	if silent != nil {
		<-silent
	}
	return g.Writer.Write(b)
}
