package ws

import "testing"

// What is no question for health is a handshake, as far as it is read.
func TestHealthIsAskedByItsPathAlone(t *testing.T) {
	for _, other := range []string{"GET /healthzz HTTP/1.1\r\n", "GET /a?/healthz HTTP/1.1\r\n", "GET http://healthz HTTP/1.1\r\n", "POST /healthz HTTP/1.1\r\n", "GET /healthz\r\n", "\n"} {
		if asked, _, _ := healthAsked([]byte(other)); asked {
			t.Errorf("%q is taken for health", other)
		}
	}
	for _, part := range []string{"GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: a\r\n", "HEAD /healthz HTTP/1.0\r\n\r"} {
		if asked, _, whole := healthAsked([]byte(part)); !asked || whole {
			t.Errorf("%q: asked %v, whole %v", part, asked, whole)
		}
	}
}
