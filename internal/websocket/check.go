package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// state is what the rules depend on.
type state struct {
	client  bool // the reader is the client: frames come from a server
	deflate bool // permessage-deflate was negotiated
	message bool // a fragmented message is unfinished
}

// check checks a header against the rules, given the connection's state.
func check(h header, s state) *Error {
	op := h.op()
	switch {
	case h.masked() == s.client:
		return maskError(s.client)
	case h.rsv() != 0 && !(h.rsv() == bitRSV1 && s.deflate && (op == Text || op == Binary)):
		return ErrReservedBits
	case op.control():
		return checkControl(h)
	case op > Binary:
		return ErrReservedOpcode
	case op == Continuation && !s.message:
		return ErrUnexpectedContinuation
	case op != Continuation && s.message:
		return ErrInterleaved
	}
	return checkLength(h)
}

// maskError returns the error of a wrong mask bit, RFC 6455 §5.1: clients mask, servers do not.
func maskError(client bool) *Error {
	if client {
		return ErrMasked
	}
	return ErrNotMasked
}

// checkControl checks the header of a control frame, RFC 6455 §5.5: it is short and not fragmented.
func checkControl(h header) *Error {
	switch {
	case h.op() > Pong:
		return ErrReservedOpcode
	case !h.fin():
		return ErrControlFragmented
	case h.short() > maxControl:
		return ErrControlTooLong
	}
	return nil
}

// checkLength checks the length field, RFC 6455 §5.2: the shortest form, and 63 bits at most.
func checkLength(h header) *Error {
	switch {
	case h.short() == len16 && h.length <= 125, h.short() == len64 && h.length <= 0xFFFF:
		return ErrLengthEncoding
	case h.length>>63 != 0:
		return ErrLengthRange
	}
	return nil
}

// checkClose checks the payload of a close frame, RFC 6455 §5.5.1, and returns its
// code, CodeNoStatus if it has none.
func checkClose(p []byte) (uint16, *Error) {
	switch len(p) {
	case 0:
		return CodeNoStatus, nil
	case 1:
		return 0, ErrClosePayload
	}
	code := binary.BigEndian.Uint16(p)
	if !validCode(code) {
		return 0, ErrCloseCode
	}
	if !utf8.Valid(p[2:]) {
		return 0, ErrCloseReason
	}
	return code, nil
}

// validCode reports whether a peer may send the close code: RFC 6455 §7.4.1 and the IANA
// registry below 1016, §7.4.2 from 3000 on.
func validCode(code uint16) bool {
	switch {
	case code < 1000:
		return false
	case code <= 1014:
		return code < 1004 || code > 1006
	}
	return code >= 3000 && code <= 4999
}
