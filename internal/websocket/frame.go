package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// AppendHeader appends the header of an unfragmented message or control frame from a server, with a payload of length
// bytes: unmasked.
func AppendHeader(dst []byte, op Opcode, length int) []byte {
	return appendHeader(dst, bitFin|byte(op), length)
}

// AppendFrame appends an unfragmented message or control frame from a server: unmasked.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendMaskedFrame appends an unfragmented message or control frame from a client, masked with key:
// call NewKey for each frame, RFC 6455 §5.3.
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

// AppendCompressed is AppendFrame for a connection with permessage-deflate: it compresses a message of
// at least least bytes if that makes it smaller. Control frames are never compressed,
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

// compress returns the first byte of the frame and its payload: the given one, or its
// compressed form, which is then in dst after the room for the longest header, so that the caller has
// to move it down to the header.
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

// maxReason is how many bytes a close frame has for its reason, RFC 6455 §5.5.
const maxReason = maxControl - 2

// AppendClose appends a close frame from a server. A code of 0 or CodeNoStatus makes an empty
// frame; a reason that is too long is cut between characters.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	var payload [maxControl]byte
	return AppendFrame(dst, Close, appendCloseBody(payload[:0], code, reason))
}

// AppendMaskedClose appends a close frame from a client.
func AppendMaskedClose(dst []byte, code uint16, reason string, key uint32) []byte {
	var payload [maxControl]byte
	return AppendMaskedFrame(dst, Close, appendCloseBody(payload[:0], code, reason), key)
}

// appendCloseBody appends the code in network order, then the reason, RFC 6455 §5.5.1.
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
