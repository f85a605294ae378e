package ws

import "testing"

// What is no request for one of the paths is a handshake, as far as it is read.
func TestPlainIsAskedByItsPathAlone(t *testing.T) {
	for _, other := range []string{"GET /healthzz HTTP/1.1\r\n", "GET /a?/healthz HTTP/1.1\r\n", "GET http://healthz HTTP/1.1\r\n", "POST /healthz HTTP/1.1\r\n", "GET /v1/nodes/a HTTP/1.1\r\n", "POST /v1/nodes HTTP/1.1\r\n", "GET /v1 HTTP/1.1\r\n", "GET /healthz\r\n", "\n"} {
		if _, ok := askedPlain([]byte(other)); ok {
			t.Errorf("%q is taken for a question", other)
		}
	}
	for _, part := range []string{"GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n", "HEAD /healthz HTTP/1.0\r\n\r", "GET //v1//nodes/?a HTTP/1.1\r\nHost: a\r\n"} {
		if r, ok := askedPlain([]byte(part)); !ok || r.whole {
			t.Errorf("%q: %v, %+v", part, ok, r)
		}
	}
}
