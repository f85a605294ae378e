package gateway

import (
	"bytes"
	"strconv"

	"github.com/longline/longline/internal/websocket"
)

// healthPath is where a balancer asks on the device port whether the node takes devices, by GET or HEAD of HTTP/1.0 or
// 1.1, without an upgrade.
const healthPath = "/healthz"

// healthAsked reports whether p begins a question for health, and by HEAD; whole is that all of it is there.
func healthAsked(p []byte) (asked, head, whole bool) {
	method, rest, ok := bytes.Cut(p, []byte(" "+healthPath))
	head = string(method) == "HEAD"
	if !ok || !head && string(method) != "GET" || len(rest) == 0 || rest[0] != ' ' && rest[0] != '?' {
		return false, false, false
	}
	return true, head, bytes.Contains(rest, []byte("\r\n\r\n"))
}

// answerHealth answers a question for health, if p is one, and reports whether it is: nothing else is to be read in it.
func (s *socket) answerHealth(app application, p []byte, limits websocket.Limits) bool {
	asked, head, whole := healthAsked(p)
	if !asked || !whole && len(p) >= limits.Bytes {
		return false
	}
	if !whole {
		return true
	}
	status, body := "200 OK", "ok\n"
	if !app.ready() {
		status, body = "503 Service Unavailable", "the node takes no devices: it is starting or draining\n"
	}
	answer := "HTTP/1.1 " + status + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n"
	if !head {
		answer += body
	}
	s.state = over
	s.conn.Commit(append(s.conn.Reserve(len(answer)), answer...))
	s.conn.Finish()
	return true
}
