package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/sys/unix"
)

// http1 is the transport for HTTP/1.1 without TLS, RFC 9112. A call is written and read by the goroutine that makes it: the client of
// net/http has two more for each connection, and needs twice the CPU. Answers that parseAnswer does not take are parsed by net/http. All methods are safe from any goroutine.
type http1 struct {
	// Static after construction.
	dialer     net.Dialer
	mostIdle   int // connections to an instance
	mostAnswer int

	mu     sync.Mutex
	idle   map[string][]*conn // by HOST:PORT; the one that was used last is at the end
	closed bool
}

const (
	maxHeader = 16 << 10 // of an answer, with the informational ones before it
	max1xx    = 8
	idleTime  = 60 * time.Second // after which a connection without calls is closed
	joined    = 16 << 10         // up to here a body is copied behind its header, and written with it
)

// conn is one connection. A call owns it, or the idle list does.
type conn struct {
	net.Conn
	raw   syscall.RawConn
	head  []byte    // of requests
	idle  time.Time // since when; zero for a connection that is new
	room  []byte    // for ahead
	ahead []byte    // was received, and not read yet; in room
	limit limited
	from  *bufio.Reader // reads limit; nil until an answer needs it

	// Of a turn.
	step     func(fd uintptr) bool // turn, made once
	out      []byte                // what it sends
	wrote    int                   // of out; -1 if it was not tried
	received int
}

// roomSize is up to which size an answer is read at once.
const roomSize = 4 << 10

// Read implements io.Reader: first what is ahead.
func (c *conn) Read(b []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.ahead)
	c.ahead = c.ahead[n:]
	return n, nil
}

// turn sends out, if the connection was not kept or is quiet, and receives into room as soon as there is something. It reports whether it is
// over; what it cannot send is left to the caller. All is within one call of RawConn.Read, which calls turn once, and again after each event of the
// connection since it was called itself: so nothing is missed, and no system call asks in vain.
func (c *conn) turn(fd uintptr) (over bool) {
	if c.wrote < 0 {
		if c.used() && !quiet(fd) {
			return true
		}
		n, err := syscall.Write(int(fd), c.out) // and not unix.Write: the race detector knows this one
		c.wrote = max(n, 0)
		return err != nil || n < len(c.out)
	}
	for {
		n, err := syscall.Read(int(fd), c.room)
		if !errors.Is(err, syscall.EINTR) {
			c.received = max(n, 0)
			return !errors.Is(err, syscall.EAGAIN)
		}
	}
}

// used reports whether there was a request on the connection before.
func (c *conn) used() bool { return !c.idle.IsZero() }

// exchange sends b, and receives some of the answer. sent reports whether some of b may have arrived.
func (c *conn) exchange(b []byte) (sent bool, err error) {
	c.out, c.wrote, c.received = b, -1, 0
	err = c.raw.Read(c.step)
	c.out = nil
	switch {
	case err != nil:
		return c.wrote > 0, err
	case c.wrote < 0:
		return false, errStale
	case c.wrote < len(b):
		n, err := c.Write(b[c.wrote:])
		return c.wrote > 0 || n > 0, err
	}
	c.ahead = c.room[:c.received] // after an error, or at the end of the connection, nothing: the next read says so
	return true, nil
}

// limited reads what a header may still have.
type limited struct {
	from io.Reader
	left int
	err  error // of from
}

var errHeader = errors.New("its header is too long")

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, errHeader
	}
	n, err := l.from.Read(b[:min(len(b), l.left)])
	l.left -= n
	if err != nil {
		l.err = err
	}
	return n, err
}

func newHTTP1(c *Config) *http1 {
	return &http1{dialer: c.dialer(), mostIdle: c.Concurrency, mostAnswer: c.MaxAnswer, idle: make(map[string][]*conn)}
}

// send implements transport.
func (h *http1) send(ctx context.Context, i *instance, r *Request) (a *Answer, sent bool, err error) {
	for {
		c, err := h.connection(ctx, i.at.Host)
		if err != nil {
			return nil, false, err
		}
		a, sent, err = h.sendOn(ctx, c, i, r)
		if !errors.Is(err, errStale) || ctx.Err() != nil {
			return a, sent, err
		}
	}
}

// sendOn is send on a connection, which it keeps or closes. The error is errStale if another connection has to be tried.
func (h *http1) sendOn(ctx context.Context, c *conn, i *instance, r *Request) (a *Answer, sent bool, err error) {
	stop := context.AfterFunc(ctx, c.interrupt)
	var again bool
	sent, err = c.write(i, r)
	whole := err == nil
	if sent { // an instance may refuse a request, such as one that is too large, before it has read all
		a, again, err = c.answer(r.Method, h.mostAnswer)
	}
	if stop() && again && whole {
		h.keep(i.at.Host, c)
	} else {
		_ = c.Close()
	}
	if a != nil {
		a.Instance = i.URL
	}
	return a, sent, err
}

// interrupt ends reads and writes of c, for good.
func (c *conn) interrupt() { _ = c.SetDeadline(time.Unix(1, 0)) }

// connection returns a connection that is idle, or a new one.
func (h *http1) connection(ctx context.Context, host string) (*conn, error) {
	if c := h.takeIdle(host); c != nil {
		return c, nil
	}
	n, err := h.dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: n, room: make([]byte, roomSize)}
	c.step, c.limit.from = c.turn, c
	if c.raw, err = n.(*net.TCPConn).SyscallConn(); err != nil {
		_ = n.Close()
		return nil, err
	}
	return c, nil
}

func (h *http1) takeIdle(host string) (c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.idle[host]
	if len(list) == 0 {
		return nil
	}
	c = list[len(list)-1]
	list[len(list)-1] = nil
	h.idle[host] = list[:len(list)-1]
	return c
}

// keep makes c idle, or closes it.
func (h *http1) keep(host string, c *conn) {
	c.idle = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if list := h.idle[host]; !h.closed && len(list) < h.mostIdle {
		h.idle[host] = append(list, c)
		return
	}
	_ = c.Close()
}

// sweep closes what is idle for long.
func (h *http1) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for host, list := range h.idle {
		n := 0
		for n < len(list) && now.Sub(list[n].idle) > idleTime {
			_ = list[n].Close()
			n++
		}
		if list = slices.Delete(list, 0, n); len(list) == 0 {
			delete(h.idle, host)
		} else {
			h.idle[host] = list
		}
	}
}

// close implements transport.
func (h *http1) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for host, list := range h.idle {
		for _, c := range list {
			_ = c.Close()
		}
		delete(h.idle, host)
	}
}

// open is quiet, for a connection that is not in a turn.
func (c *conn) open() bool {
	is := false
	err := c.raw.Read(func(fd uintptr) bool { is = quiet(fd); return true })
	return err == nil && is
}

// quiet reports whether a connection is open and has nothing to read: the instance may have closed it, and a request on it would be
// lost without a trace.
func quiet(fd uintptr) bool {
	var b [1]byte
	_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return errors.Is(err, unix.EAGAIN)
}

// errStale is a connection that was kept and is not quiet. Nothing was sent.
var errStale = errors.New("the instance has ended a connection that was kept")

// write writes a request, and perhaps reads the beginning of the answer already. sent reports whether some of it may have arrived.
func (c *conn) write(i *instance, r *Request) (sent bool, err error) {
	if c.head, err = appendHead(c.head[:0], i, r); err != nil {
		return false, err
	}
	if len(r.Body) <= joined {
		c.head = append(c.head, r.Body...)
		return c.exchange(c.head)
	}
	if c.used() && !c.open() {
		return false, errStale
	}
	both := net.Buffers{c.head, r.Body}
	n, err := both.WriteTo(c.Conn)
	return n > 0, err
}

var errRequest = errors.New("the request has characters that HTTP does not allow")

// appendHead appends the header of a request.
func appendHead(b []byte, i *instance, r *Request) ([]byte, error) {
	path := i.at.EscapedPath() + r.Path
	if !httpguts.ValidHeaderFieldName(r.Method) || !validTarget(path) {
		return b, errRequest
	}
	if path == "" {
		path = "/"
	}
	b = append(append(append(append(b, r.Method...), ' '), path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, i.at.Host...), "\r\n"...)
	sound := true
	r.eachHeader(func(name, value string) {
		sound = sound && httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(value)
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	})
	if !sound {
		return b, errRequest
	}
	if len(r.Body) > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(len(r.Body)), 10), "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// validTarget reports whether a path, with a query perhaps, may be in a request as it is.
func validTarget(path string) bool {
	for k := range len(path) {
		if path[k] <= ' ' || path[k] > '~' {
			return false
		}
	}
	return true
}

// answer reads the answer to a request. again reports whether c can have another request.
func (c *conn) answer(method string, most int) (a *Answer, again bool, err error) {
	if method != http.MethodHead {
		if a, n, last := parseAnswer(c.ahead, most); a != nil {
			c.ahead = c.ahead[n:]
			return a, !last && len(c.ahead) == 0, nil
		}
	}
	if c.from == nil {
		c.from = bufio.NewReader(&c.limit)
	}
	c.limit.left, c.limit.err = maxHeader, nil
	request := &http.Request{Method: method}
	var response *http.Response
	for n := 0; ; n++ {
		if response, err = http.ReadResponse(c.from, request); err != nil { //nolint:bodyclose // its end decides about the connection
			return nil, false, c.why(err)
		}
		if response.StatusCode/100 != 1 {
			break
		}
		if n == max1xx || response.StatusCode == http.StatusSwitchingProtocols {
			return nil, false, fmt.Errorf("%w: status %d", ErrInvalid, response.StatusCode)
		}
	}
	c.limit.left = 2*most + maxHeader // chunks have headers as well
	body, err := readBody(response, most)
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, false, err
	case err != nil:
		return nil, false, c.why(err)
	}
	again = !response.Close && c.from.Buffered() == 0 && len(c.ahead) == 0
	return answerOf(response, body), again, nil
}

// why returns the reason of an error while an answer was read: that of the connection, or that the answer is not sound.
func (c *conn) why(err error) error {
	switch {
	case c.limit.err == nil || errors.Is(err, errHeader):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	case errors.Is(c.limit.err, io.EOF):
		return errCut
	}
	return c.limit.err
}

var errCut = errors.New("it has ended the connection before it answered")
