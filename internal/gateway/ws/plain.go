package ws

import (
	"bytes"
	"strconv"
	"time"

	"github.com/longline/longline/internal/websocket"
)

// The paths on the device port that are answered without an upgrade and without a credential, by GET or HEAD of HTTP/1.0 or 1.1. What is answered is
// ready before: a request costs no more than its answer.
const (
	healthPath = "/healthz"  // where a load balancer asks whether the node accepts devices
	nodesPath  = "/v1/nodes" // where a client asks to which nodes it may connect
)

// plainRequest is a request for one of these paths.
type plainRequest struct {
	path  string
	head  bool // HEAD
	whole bool // it ends with an empty line
}

// askedPlain returns the request with which p begins, if it is for one of the paths. Lines may end in LF alone, as scripts write them.
func askedPlain(p []byte) (r plainRequest, ok bool) {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return r, false
	}
	words := bytes.Fields(p[:end])
	if len(words) != 3 || !bytes.HasPrefix(words[2], []byte("HTTP/1.")) {
		return r, false
	}
	r.head = string(words[0]) == "HEAD"
	if !r.head && string(words[0]) != "GET" {
		return r, false
	}
	r.whole = bytes.HasSuffix(p[end:], []byte("\n\r\n")) || bytes.HasSuffix(p[end:], []byte("\n\n"))
	switch path := pathOf(words[1]); string(path) {
	case healthPath, nodesPath:
		r.path = string(path)
		return r, true
	}
	return r, false
}

// pathOf returns the path of a request target, which may be an absolute URL.
func pathOf(target []byte) []byte {
	if _, rest, ok := bytes.Cut(target, []byte("://")); ok && target[0] != '/' {
		target = rest[max(0, bytes.IndexByte(rest, '/')):]
	}
	target, _, _ = bytes.Cut(target, []byte("?"))
	return tidyPath(target)
}

// PlainAnswer answers a request without an upgrade.
type PlainAnswer struct {
	Status string        // such as 200 OK
	Type   string        // of the content
	Age    time.Duration // for which a cache may keep it
	Body   []byte        // never changed: many connections may share it
}

var (
	ready200    = &PlainAnswer{Status: "200 OK", Type: plainText, Body: []byte("ok\n")}
	draining503 = &PlainAnswer{Status: "503 Service Unavailable", Type: plainText, Body: []byte("the node accepts no devices: it is starting or draining\n")}
)

const plainText = "text/plain; charset=utf-8"

// HealthAnswer says whether the node accepts devices, if the path asks for that; otherwise it is nil.
func HealthAnswer(path string, ready bool) *PlainAnswer {
	switch {
	case path != healthPath:
		return nil
	case ready:
		return ready200
	}
	return draining503
}

// nodesAnswer lists the nodes. It is nil if the configuration does not allow it.
func (srv *Server) nodesAnswer() *PlainAnswer {
	if srv.Config.Nodes == nil {
		return nil
	}
	return &PlainAnswer{Status: "200 OK", Type: "application/json", Age: nodesAge, Body: srv.Config.Nodes()}
}

// nodesAge is for how long an answer with nodes holds.
const nodesAge = 5 * time.Second

// appendHeader appends the header of the response, which closes the connection.
func (a *PlainAnswer) appendHeader(dst []byte) []byte {
	dst = append(append(append(dst, "HTTP/1.1 "...), a.Status...), "\r\nContent-Type: "...)
	dst = append(append(dst, a.Type...), "\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(a.Body)), 10)
	if a.Age > 0 {
		dst = strconv.AppendInt(append(dst, "\r\nCache-Control: max-age="...), int64(a.Age/time.Second), 10)
	}
	return append(dst, "\r\nConnection: close\r\n\r\n"...)
}

// answerPlain answers p if it is a complete request that needs no upgrade. It reports whether p begins with such a request; then p is not parsed as a
// handshake.
func (s *Socket) answerPlain(app Application, p []byte, limits websocket.Limits) bool {
	r, ok := askedPlain(p)
	if !ok || !r.whole && len(p) >= limits.Bytes {
		return false
	}
	if !r.whole {
		return true
	}
	a := app.Plain(r.path)
	if a == nil {
		return false
	}
	s.state = over
	conn := app.Transport()
	conn.Commit(a.appendHeader(conn.Reserve(plainRoom)))
	if !r.head {
		conn.Share(a.Body)
	}
	conn.Finish()
	return true
}

// plainRoom is enough for the header of any PlainAnswer.
const plainRoom = 256
