package websocket

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"slices"
)

// Request is an upgrade request that a server may accept, RFC 6455 §4.2.1. All its slices
// are views of the bytes given to ParseRequest; nil stands for a header that was not sent.
type Request struct {
	Path          []byte // as sent, percent-encoded; begins with /
	RawQuery      []byte // after the first ?, nil if there is none
	Host          []byte
	Origin        []byte
	Authorization []byte
	Key           []byte // Sec-WebSocket-Key: 24 bytes

	// Window is not 0 if the client offers permessage-deflate in a way that AppendUpgrade
	// can accept: then it is the window for compression.
	Window Window

	named bool // the offer names the window, so the answer must too
	block fields
}

// Header returns the first value of a header, nil if it was not sent. The case of the name does
// not matter.
func (r *Request) Header(name string) []byte { return r.block.get(name) }

// Protocols yields the subprotocols that the client offers, in the client's order of preference:
// for p := range req.Protocols.
func (r *Request) Protocols(yield func(name []byte) bool) {
	for list := range r.block.values("Sec-WebSocket-Protocol") {
		for len(list) > 0 {
			var name []byte
			if name, list = cutElement(list); len(name) > 0 && !yield(name) {
				return
			}
		}
	}
}

// ForwardedFor returns copies of the values of X-Forwarded-For, in their order.
func (r *Request) ForwardedFor() (list []string) {
	for value := range r.block.values("X-Forwarded-For") {
		list = append(list, string(value))
	}
	return list
}

// Keep returns a copy of what AppendUpgrade needs of r.
func (r *Request) Keep() *Request {
	return &Request{Key: bytes.Clone(r.Key), Window: r.Window, named: r.named}
}

// ParseRequest reads a client's opening handshake at the beginning of p. n is its length, 0
// if it is not complete: call ParseRequest again with the same bytes and more after them. The bytes after n
// are frames. An error is an *HTTPError, which is the response to send.
func ParseRequest(p []byte, req *Request, limits Limits) (n int, err error) {
	*req = Request{}
	if len(p) > 0 && !inClass(p[0], tokenChar) { // refuses TLS and other protocols at their first byte
		return 0, errRequestLine
	}
	h := head{p: p, limits: limits.withDefaults()}
	line, e := h.next()
	if e == nil && line != nil {
		e = req.startLine(line)
	}
	if e != nil {
		return 0, e
	}
	if line == nil {
		return 0, nil
	}
	start := h.at
	var c requestFields
	for {
		name, value, done, e := h.field()
		switch {
		case e != nil:
			return 0, e
		case done:
			if e := c.check(req); e != nil {
				return 0, e
			}
			req.block = p[start:h.at]
			return h.at, nil
		case name == nil:
			return 0, nil
		}
		if e := c.add(req, name, value); e != nil {
			return 0, e
		}
	}
}

// startLine reads the request line, RFC 9112 §3.
func (r *Request) startLine(line []byte) *HTTPError {
	method, rest, ok := bytes.Cut(line, []byte{' '})
	target, version, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok || !ok2 || !isToken(method) || !allIn(target, targetChar) || !isVersion(version) {
		return errRequestLine
	}
	if version[5] != '1' || version[7] == '0' {
		return errVersion
	}
	if string(method) != "GET" {
		return errMethod
	}
	return r.target(target)
}

// isVersion checks the form HTTP/1.1, RFC 9112 §2.3.
func isVersion(v []byte) bool {
	return len(v) == 8 && string(v[:5]) == "HTTP/" && v[6] == '.' && digit(v[5]) && digit(v[7])
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// target reads the origin form, RFC 9112 §3.2.1, or the absolute form, §3.2.2, whose
// authority overrides Host.
func (r *Request) target(t []byte) *HTTPError {
	if t[0] != '/' {
		scheme, rest, ok := bytes.Cut(t, []byte("://"))
		if !ok || !slices.ContainsFunc(schemes, func(s string) bool { return foldEqual(scheme, s) }) {
			return errRequestLine
		}
		if r.Host, t = cutAuthority(rest); len(r.Host) == 0 {
			return errRequestLine
		}
	}
	r.Path = t
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		r.Path, r.RawQuery = t[:i], t[i+1:]
	}
	if len(r.Path) == 0 {
		r.Path = []byte("/") // RFC 9110 §4.2.3
	}
	return nil
}

// schemes are the schemes of an absolute target: clients send ws and wss, as they are configured.
var schemes = []string{"http", "https", "ws", "wss"}

// cutAuthority splits what follows a scheme into the authority and the path with the query, which may be absent.
func cutAuthority(t []byte) (authority, rest []byte) {
	if i := bytes.IndexAny(t, "/?"); i >= 0 {
		return t[:i], t[i:]
	}
	return t, nil
}

// requestFields is what ParseRequest collects from the header lines.
type requestFields struct {
	host, version       []byte
	upgrade, connection bool // whether the tokens were there
}

// add reads one header line.
func (c *requestFields) add(r *Request, name, value []byte) *HTTPError {
	switch {
	case foldEqual(name, "Host"):
		return once(&c.host, value, errHost)
	case foldEqual(name, "Upgrade"):
		c.upgrade = c.upgrade || listHas(value, "websocket")
	case foldEqual(name, "Connection"):
		c.connection = c.connection || listHas(value, "upgrade")
	case foldEqual(name, "Origin"):
		return once(&r.Origin, value, errRepeated)
	case foldEqual(name, "Authorization"):
		return once(&r.Authorization, value, errRepeated)
	case foldEqual(name, "Content-Length"):
		if string(value) != "0" {
			return errBody
		}
	case foldEqual(name, "Transfer-Encoding"):
		return errBody
	case len(name) > 14 && foldEqual(name[:14], "Sec-WebSocket-"):
		return c.addWebSocket(r, name[14:], value)
	}
	return nil
}

// addWebSocket reads one Sec-WebSocket header, RFC 6455 §11.3.
func (c *requestFields) addWebSocket(r *Request, name, value []byte) *HTTPError {
	switch {
	case foldEqual(name, "Key"):
		return once(&r.Key, value, errKey)
	case foldEqual(name, "Version"):
		return once(&c.version, value, errRepeated)
	case foldEqual(name, "Protocol"):
		return checkProtocols(value)
	case foldEqual(name, "Extensions"):
		return r.offers(value)
	}
	return nil
}

// once sets a field that may come only once.
func once(field *[]byte, value []byte, e *HTTPError) *HTTPError {
	if *field != nil {
		return e
	}
	*field = value
	return nil
}

func checkProtocols(list []byte) *HTTPError {
	for len(list) > 0 {
		var name []byte
		if name, list = cutElement(list); len(name) > 0 && !isToken(name) {
			return errProtocol
		}
	}
	return nil
}

// offers selects the first acceptable offer of permessage-deflate, in the
// client's order, RFC 7692 §5.1.
func (r *Request) offers(value []byte) *HTTPError {
	var offer deflateParams
	list := extensionList{rest: value}
	for {
		name, value, param := list.next()
		if !param && offer.valid && r.Window == 0 && !list.bad {
			r.Window, r.named = cmp.Or(offer.serverBits, FullWindow), offer.serverBits > 0
		}
		switch {
		case name == nil && list.bad:
			return errExtensions
		case name == nil:
			return nil
		case param:
			offer.add(name, value)
		default:
			offer = deflateParams{valid: foldEqual(name, deflateName)}
		}
	}
}

// check checks the whole header, RFC 6455 §4.2.1.
func (c *requestFields) check(r *Request) *HTTPError {
	switch {
	case !allIn(c.host, targetChar):
		return errHost
	case !c.upgrade || !c.connection:
		return errNotUpgrade
	case string(c.version) != "13":
		return errWSVersion
	case !validKey(r.Key):
		return errKey
	}
	if r.Host == nil {
		r.Host = c.host
	}
	return nil
}

// validKey reports whether the key is 16 bytes in base64, RFC 6455 §4.1.
func validKey(key []byte) bool {
	var raw [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(raw[:], key)
	return err == nil && n == 16
}
