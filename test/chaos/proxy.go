package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// line is how a proxy carries the connections of one user of Redis.
type line uint8

const (
	whole   line = iota // as they are
	severed             // they are reset, and new ones are refused
	silent              // nothing is carried, in both directions; they stay
	deaf                // requests are carried, answers are not
	unheard             // requests are not carried, answers are
	lineKinds
)

func (l line) String() string {
	return [lineKinds]string{"whole", "severed", "silent", "deaf", "unheard"}[l]
}

// proxy carries connections to one Redis, and knows whose they are: a node names itself by its user, the first thing that it sends. Its methods are
// safe from any goroutine.
type proxy struct {
	listener net.Listener
	names    []string // users

	mu      sync.Mutex
	to      string          // the server's address
	lines   map[string]line // by user; those who are no users are others
	changed chan struct{}   // closed when lines change
	conns   map[net.Conn]string
}

// Users of a Redis besides the nodes.
const (
	replica = "replica"
	others  = "others"
)

func listenProxy(names ...string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: l, names: names, lines: make(map[string]line), changed: make(chan struct{}), conns: make(map[net.Conn]string)}
	go p.accept()
	return p, nil
}

func (p *proxy) port() int       { return p.listener.Addr().(*net.TCPAddr).Port }
func (p *proxy) address() string { return p.listener.Addr().String() }

// point names the server.
func (p *proxy) point(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
}

// set changes how the connections of a user are carried from now on.
func (p *proxy) set(user string, l line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines[user] = l
	close(p.changed)
	p.changed = make(chan struct{})
	if l != severed {
		return
	}
	for c, of := range p.conns {
		if of == user {
			reset(c)
		}
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.carry(c)
	}
}

// carry carries a connection until one of its sides ends.
func (p *proxy) carry(client net.Conn) {
	defer client.Close()
	first := make([]byte, 16<<10)
	n, err := client.Read(first)
	if err != nil {
		return
	}
	user := p.user(first[:n])
	p.mu.Lock()
	to, severs := p.to, p.lines[user] == severed
	p.conns[client] = user
	p.mu.Unlock()
	defer p.forget(client)
	if severs {
		reset(client)
		return
	}
	server, err := net.DialTimeout("tcp", to, time.Second)
	if err != nil {
		reset(client)
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.conns[server] = user
	p.mu.Unlock()
	defer p.forget(server)
	ended := make(chan struct{}, 2)
	go func() {
		p.copy(server, io.MultiReader(bytes.NewReader(first[:n]), client), user, unheard)
		ended <- struct{}{}
	}()
	go func() {
		p.copy(client, server, user, deaf)
		ended <- struct{}{}
	}()
	<-ended
}

func (p *proxy) forget(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// user returns whose connection begins with these bytes.
func (p *proxy) user(first []byte) string {
	for _, name := range p.names {
		if bytes.Contains(first, []byte("\r\n"+name+"\r\n")) {
			return name
		}
	}
	if bytes.HasPrefix(first, []byte("*1\r\n$4\r\nPING\r\n")) {
		return replica
	}
	return others
}

// copy copies in one direction. It waits while the line of the user does not carry this direction.
func (p *proxy) copy(to io.Writer, from io.Reader, user string, way line) {
	piece := make([]byte, 32<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			if !p.await(user, way) {
				return
			}
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// await waits until the line carries this direction; false if the connection is reset.
func (p *proxy) await(user string, way line) bool {
	for {
		p.mu.Lock()
		l, changed := p.lines[user], p.changed
		p.mu.Unlock()
		switch l {
		case severed:
			return false
		case silent, way:
			<-changed
		default:
			return true
		}
	}
}
