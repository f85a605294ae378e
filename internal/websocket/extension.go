package websocket

// The parameters of permessage-deflate, RFC 7692 §7.1. Neither side keeps a window
// between messages: the server always answers with both no_context_takeover
// parameters, and the client always offers them. A client with little memory may limit the
// server's window; the client's window is always full.
const (
	deflateName     = "permessage-deflate"
	serverNoContext = "server_no_context_takeover"
	clientNoContext = "client_no_context_takeover"
	serverMaxBits   = "server_max_window_bits"
	clientMaxBits   = "client_max_window_bits"

	deflateAgreed = deflateName + "; " + serverNoContext + "; " + clientNoContext
)

// deflateParams are the parameters of one offer or answer of permessage-deflate.
type deflateParams struct {
	valid           bool // it is permessage-deflate, and its parameters are known, valid and not repeated
	serverNoContext bool
	clientNoContext bool
	serverBits      Window // 0 when absent
	clientBits      Window // 0 when absent
	clientBitsBare  bool   // present without a value, which is legal only in an offer
}

// add reads one parameter; value is nil if it has none. RFC 7692 §7.1: an offer with an
// unknown, invalid or repeated parameter is declined.
func (d *deflateParams) add(name, value []byte) {
	switch string(name) {
	case serverNoContext:
		d.flag(&d.serverNoContext, value)
	case clientNoContext:
		d.flag(&d.clientNoContext, value)
	case serverMaxBits:
		d.bits(&d.serverBits, value)
	case clientMaxBits:
		if value == nil {
			d.flag(&d.clientBitsBare, value)
		} else {
			d.bits(&d.clientBits, value)
		}
		d.valid = d.valid && !(d.clientBitsBare && d.clientBits > 0)
	default:
		d.valid = false
	}
}

func (d *deflateParams) flag(field *bool, value []byte) {
	d.valid = d.valid && !*field && value == nil
	*field = true
}

// bits reads a window size, RFC 7692 §7.1.2: 8-15 without leading zeros.
func (d *deflateParams) bits(field *Window, value []byte) {
	var n Window
	switch {
	case len(value) == 1 && (value[0] == '8' || value[0] == '9'):
		n = Window(value[0] - '0')
	case len(value) == 2 && value[0] == '1' && value[1] >= '0' && value[1] <= '5':
		n = Window(10 + value[1] - '0')
	}
	d.valid = d.valid && n > 0 && *field == 0
	*field = n
}

// extensionList iterates over the value of Sec-WebSocket-Extensions, RFC 6455 §9.1.
type extensionList struct {
	rest  []byte
	param bool // the next item is a parameter of the extension before it
	bad   bool // the syntax is wrong
}

// next returns the next extension name or parameter; param reports which. A nil name is the end; then bad
// reports whether the syntax is wrong. value is nil for a parameter without one.
func (l *extensionList) next() (name, value []byte, param bool) {
	if !l.param {
		l.skipCommas()
	}
	if len(l.rest) == 0 && !l.param {
		return nil, nil, false
	}
	param = l.param
	if name = l.token(); name == nil {
		l.bad = true
		return nil, nil, false
	}
	if param && l.take('=') {
		if value = l.value(); value == nil {
			l.bad = true
			return nil, nil, false
		}
	}
	l.param = l.take(';')
	if !l.param && len(l.rest) > 0 && !l.take(',') {
		l.bad = true
		return nil, nil, false
	}
	return name, value, param
}

func (l *extensionList) skipCommas() {
	for l.rest = trim(l.rest); len(l.rest) > 0 && l.rest[0] == ','; {
		l.rest = trim(l.rest[1:])
	}
}

// take consumes b and the white space around it, and reports whether b came next.
func (l *extensionList) take(b byte) bool {
	l.rest = trim(l.rest)
	if len(l.rest) == 0 || l.rest[0] != b {
		return false
	}
	l.rest = trim(l.rest[1:])
	return true
}

func (l *extensionList) token() []byte {
	n := 0
	for n < len(l.rest) && inClass(l.rest[n], tokenChar) {
		n++
	}
	if n == 0 {
		return nil
	}
	t := l.rest[:n]
	l.rest = l.rest[n:]
	return t
}

// value reads a token or a quoted string, without decoding escapes: no parameter that this package
// knows has any.
func (l *extensionList) value() []byte {
	if len(l.rest) == 0 || l.rest[0] != '"' {
		return l.token()
	}
	for i := 1; i < len(l.rest); i++ {
		switch l.rest[i] {
		case '\\':
			i++
		case '"':
			v := l.rest[1:i]
			l.rest = l.rest[i+1:]
			return v
		}
	}
	return nil
}
