package websocket

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ClientRequest is a client's upgrade request, RFC 6455 §4.1.
type ClientRequest struct {
	Host          string   // host, with a port when it is not the scheme's
	Target        string   // path and query, escaped; empty is /
	Key           string   // from NewHandshakeKey
	Protocols     []string // in order of preference
	Authorization string   // the header's value; empty is none
	Deflate       bool     // offer permessage-deflate
	Header        []Field  // further headers
}

// NewHandshakeKey returns a random Sec-WebSocket-Key.
func NewHandshakeKey() string {
	var raw [16]byte
	rand.Read(raw[:])
	return base64.StdEncoding.EncodeToString(raw[:])
}

// Validate returns an error that names the first field that cannot be sent as it is. AppendRequest does not check that.
func (r *ClientRequest) Validate() error {
	switch {
	case !allIn([]byte(r.Host), targetChar):
		return errors.New("websocket: the host is empty or has bad characters")
	case r.Target != "" && (r.Target[0] != '/' || !allIn([]byte(r.Target), targetChar)):
		return errors.New("websocket: the target is not an escaped path")
	case !validKey([]byte(r.Key)):
		return errors.New("websocket: the key is not 16 bytes in base64")
	case !validValue(r.Authorization):
		return errors.New("websocket: the authorization has control characters")
	}
	for _, p := range r.Protocols {
		if !isToken([]byte(p)) {
			return fmt.Errorf("websocket: the subprotocol %q is not a token", p)
		}
	}
	for _, f := range r.Header {
		if !isToken([]byte(f.Name)) || !validValue(f.Value) {
			return fmt.Errorf("websocket: the header %q is malformed", f.Name)
		}
	}
	return nil
}

func validValue(s string) bool { return s == "" || allIn([]byte(s), valueChar) }

// AppendRequest appends the opening handshake.
func AppendRequest(dst []byte, r *ClientRequest) []byte {
	target := r.Target
	if target == "" {
		target = "/"
	}
	dst = append(append(append(dst, "GET "...), target...), " HTTP/1.1\r\n"...)
	dst = appendField(dst, "Host", r.Host)
	dst = append(dst, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"...)
	dst = appendField(dst, "Sec-WebSocket-Key", r.Key)
	for i, p := range r.Protocols {
		if i == 0 {
			dst = append(dst, "Sec-WebSocket-Protocol: "...)
		} else {
			dst = append(dst, ", "...)
		}
		dst = append(dst, p...)
	}
	if len(r.Protocols) > 0 {
		dst = append(dst, "\r\n"...)
	}
	if r.Deflate {
		dst = appendField(dst, "Sec-WebSocket-Extensions", deflateAgreed)
	}
	if r.Authorization != "" {
		dst = appendField(dst, "Authorization", r.Authorization)
	}
	for _, f := range r.Header {
		dst = appendField(dst, f.Name, f.Value)
	}
	return append(dst, "\r\n"...)
}

// Response is a server's response that accepts the connection.
type Response struct {
	Protocol string // one of the offered ones; empty if the server chose none
	Deflate  bool   // permessage-deflate was agreed on

	block fields
}

// Header returns the first value of a header, a view of the bytes given to ParseResponse;
// nil if the header was not sent.
func (r *Response) Header(name string) []byte { return r.block.get(name) }

// HandshakeError is why a handshake failed.
type HandshakeError struct {
	Status     int           // of the response; 0 if it is not HTTP
	Reason     string        // the response's reason, or the rule that it breaks
	RetryAfter time.Duration // the server's Retry-After in seconds; 0 if it sent none
}

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("websocket: handshake failed: %s (status %d)", e.Reason, e.Status)
}

// ParseResponse reads the response to r at the beginning of p. n is its length, 0 if it is not
// complete: call ParseResponse again with the same bytes and more after them. The bytes after n are
// frames. An error is a *HandshakeError.
func ParseResponse(p []byte, r *ClientRequest, limits Limits) (n int, resp Response, err error) {
	h := head{p: p, limits: limits.withDefaults()}
	line, e := h.next()
	if e != nil {
		return 0, resp, &HandshakeError{Reason: e.Reason}
	}
	if line == nil {
		return 0, resp, nil
	}
	c := responseFields{request: r}
	var reason string
	if c.status, reason = statusLine(line); c.status == 0 {
		return 0, resp, &HandshakeError{Reason: "the response is not HTTP/1.1"}
	}
	start := h.at
	for {
		name, value, done, e := h.field()
		switch {
		case e != nil:
			return 0, resp, &HandshakeError{Status: c.status, Reason: e.Reason}
		case done && c.status != 101:
			return 0, resp, &HandshakeError{c.status, reason, c.retryAfter}
		case done:
			if problem := c.check(); problem != "" {
				return 0, resp, &HandshakeError{Status: c.status, Reason: problem}
			}
			c.response.block = p[start:h.at]
			return h.at, c.response, nil
		case name == nil:
			return 0, resp, nil
		}
		c.add(name, value)
	}
}

// statusLine reads HTTP/1.1 SP 3DIGIT SP reason, RFC 9112 §4; status is 0 for anything else.
func statusLine(line []byte) (status int, reason string) {
	if len(line) < 12 || !isVersion(line[:8]) || line[5] != '1' || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' {
		return 0, ""
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil || status < 100 {
		return 0, ""
	}
	return status, string(trim(line[12:]))
}

// responseFields is what ParseResponse collects from the header lines.
type responseFields struct {
	request    *ClientRequest
	status     int
	retryAfter time.Duration

	upgrade, connection, accept, protocol, extensions bool
	problem                                           string // the first rule that was broken
	response                                          Response
}

// add reads one header line.
func (c *responseFields) add(name, value []byte) {
	switch {
	case foldEqual(name, "Upgrade"):
		c.upgrade = c.upgrade || listHas(value, "websocket")
	case foldEqual(name, "Connection"):
		c.connection = c.connection || listHas(value, "upgrade")
	case foldEqual(name, "Sec-WebSocket-Accept"):
		c.addAccept(value)
	case foldEqual(name, "Sec-WebSocket-Protocol"):
		c.addProtocol(value)
	case foldEqual(name, "Sec-WebSocket-Extensions"):
		c.addExtensions(value)
	case foldEqual(name, "Retry-After"):
		c.retryAfter = seconds(value)
	}
}

// seconds reads a Retry-After in seconds, RFC 9110 §10.2.3; it returns 0 for a date.
func seconds(value []byte) time.Duration {
	n, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

func (c *responseFields) fail(problem string) {
	if c.problem == "" {
		c.problem = problem
	}
}

// addAccept reads the accept key, RFC 6455 §11.3.3: it may come only once.
func (c *responseFields) addAccept(value []byte) {
	var want [28]byte
	if c.accept || string(value) != string(appendAccept(want[:0], []byte(c.request.Key))) {
		c.fail("Sec-WebSocket-Accept does not match the key")
	}
	c.accept = true
}

// addProtocol reads the subprotocol. RFC 6455 §4.1: one that was not offered fails the connection.
func (c *responseFields) addProtocol(value []byte) {
	for _, p := range c.request.Protocols {
		if string(value) == p && !c.protocol {
			c.protocol, c.response.Protocol = true, p
			return
		}
	}
	c.fail("the server chose a subprotocol that was not offered")
}

// addExtensions reads the extensions. RFC 6455 §9.1: one that was not offered fails the connection; RFC 7692 §7.1: so do
// parameters that were not offered, or whose absence would let the server refer to earlier messages.
func (c *responseFields) addExtensions(value []byte) {
	var d deflateParams
	list := extensionList{rest: value}
	for {
		name, value, param := list.next()
		switch {
		case name == nil && list.bad:
			c.fail("Sec-WebSocket-Extensions breaks its grammar")
			return
		case name == nil:
			c.agree(d)
			return
		case param:
			d.add(name, value)
		case c.extensions || !c.request.Deflate || !foldEqual(name, deflateName):
			c.fail("the server chose an extension that was not offered")
			return
		default:
			c.extensions, d.valid = true, true
		}
	}
}

func (c *responseFields) agree(d deflateParams) {
	switch {
	case !c.extensions: // an empty list
	case !d.valid || !d.serverNoContext || d.clientBits > 0 || d.clientBitsBare:
		c.fail("the server's parameters of permessage-deflate do not answer the offer")
	default:
		c.response.Deflate = true
	}
}

// check checks the whole header, RFC 6455 §4.1.
func (c *responseFields) check() string {
	switch {
	case !c.upgrade:
		return "Upgrade is not websocket"
	case !c.connection:
		return "Connection is not Upgrade"
	case !c.accept:
		return "Sec-WebSocket-Accept is missing"
	}
	return c.problem
}
