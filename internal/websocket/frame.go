package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// AppendHeader adds the header of a server's whole message or control frame of length
// bytes: unmasked.
func AppendHeader(dst []byte, op Opcode, length int) []byte {
	return appendHeader(dst, bitFin|byte(op), length)
}

// AppendFrame adds a whole message or control frame of a server: unmasked.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendMaskedFrame adds a whole message or control frame of a client, masked with key:
// NewKey for each frame, RFC 6455 §5.3.
func AppendMaskedFrame(dst []byte, op Opcode, payload []byte, key uint32) []byte {
	return appendMasked(dst, bitFin|byte(op), payload, key)
}

func appendMasked(dst []byte, first byte, payload []byte, key uint32) []byte {
	dst = appendMaskedHeader(dst, first, len(payload), key)
	at := len(dst)
	dst = append(dst, payload...)
	mask(dst[at:], key)
	return dst
}

// AppendCompressed is AppendFrame for a connection with permessage-deflate: a message of
// at least least bytes is compressed, if that makes it smaller. Control frames never are,
// RFC 7692 §6.1. Without a window, nothing is.
func AppendCompressed(dst []byte, op Opcode, payload []byte, window Window, least int) []byte {
	start := len(dst)
	dst, first, body := compress(dst, op, payload, window, least)
	return append(appendHeader(dst[:start], first, len(body)), body...)
}

// AppendMaskedCompressed is AppendMaskedFrame for a connection with permessage-deflate.
func AppendMaskedCompressed(dst []byte, op Opcode, payload []byte, least int, key uint32) []byte {
	start := len(dst)
	dst, first, body := compress(dst, op, payload, FullWindow, least)
	return appendMasked(dst[:start], first, body, key)
}

// compress returns the first byte of the frame and what it carries: payload, or its
// compressed form, which then is in dst behind the room for the longest header, to be
// moved down to the header that it gets.
func compress(dst []byte, op Opcode, payload []byte, window Window, least int) (grown []byte, first byte, body []byte) {
	first = bitFin | byte(op)
	if window == 0 || len(payload) == 0 || len(payload) < least || op.control() {
		return dst, first, payload
	}
	dst = append(dst, make([]byte, MaxHeader)...)
	at := len(dst)
	dst = deflate(dst, payload, window)
	if len(dst)-at >= len(payload) {
		return dst, first, payload
	}
	return dst, first | bitRSV1, dst[at:]
}

// maxReason is what a close frame has left after its code, in bytes, RFC 6455 §5.5.
const maxReason = maxControl - 2

// AppendClose adds a close frame of a server. A code of 0 or CodeNoStatus makes an empty
// one; a reason too long is cut between characters.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	var payload [maxControl]byte
	return AppendFrame(dst, Close, appendCloseBody(payload[:0], code, reason))
}

// AppendMaskedClose adds a close frame of a client.
func AppendMaskedClose(dst []byte, code uint16, reason string, key uint32) []byte {
	var payload [maxControl]byte
	return AppendMaskedFrame(dst, Close, appendCloseBody(payload[:0], code, reason), key)
}

// RFC 6455 §5.5.1: the code in network order, then the reason.
func appendCloseBody(dst []byte, code uint16, reason string) []byte {
	if code == 0 || code == CodeNoStatus {
		return dst
	}
	if len(reason) > maxReason {
		cut := maxReason
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}
