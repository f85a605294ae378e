package ws

import (
	"bytes"
	"strconv"

	"github.com/longline/longline/internal/websocket"
)

// healthPath is where a load balancer asks on the device port whether the node accepts devices, by GET or HEAD of
// HTTP/1.0 or 1.1, without an upgrade.
const healthPath = "/healthz"

// healthAsked reports whether p begins with a request for healthPath, whether it is a HEAD, and whether it is
// complete: it ends with an empty line. Lines may end in LF alone, as scripts write them.
func healthAsked(p []byte) (asked, head, whole bool) {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return false, false, false
	}
	words := bytes.Fields(p[:end])
	if len(words) != 3 || !bytes.HasPrefix(words[2], []byte("HTTP/1.")) {
		return false, false, false
	}
	head = string(words[0]) == "HEAD"
	if !head && string(words[0]) != "GET" || string(pathOf(words[1])) != healthPath {
		return false, false, false
	}
	return true, head, bytes.HasSuffix(p[end:], []byte("\n\r\n")) || bytes.HasSuffix(p[end:], []byte("\n\n"))
}

// pathOf returns the path of a request target, which may be an absolute URL.
func pathOf(target []byte) []byte {
	if _, rest, ok := bytes.Cut(target, []byte("://")); ok && target[0] != '/' {
		target = rest[max(0, bytes.IndexByte(rest, '/')):]
	}
	target, _, _ = bytes.Cut(target, []byte("?"))
	return tidyPath(target)
}

// answerHealth answers p if it is a complete request for healthPath. It reports whether p begins with such a request;
// then p is not parsed as a handshake.
func (s *Socket) answerHealth(app Application, p []byte, limits websocket.Limits) bool {
	asked, head, whole := healthAsked(p)
	if !asked || !whole && len(p) >= limits.Bytes {
		return false
	}
	if !whole {
		return true
	}
	status, body := "200 OK", "ok\n"
	if !app.Health() {
		status, body = "503 Service Unavailable", "the node accepts no devices: it is starting or draining\n"
	}
	answer := "HTTP/1.1 " + status + "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: close\r\n\r\n"
	if !head {
		answer += body
	}
	s.state = over
	conn := app.Transport()
	conn.Commit(append(conn.Reserve(len(answer)), answer...))
	conn.Finish()
	return true
}
