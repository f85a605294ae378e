package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// AppendFrame adds a whole message or control frame of a server: unmasked.
func AppendFrame(dst []byte, op Opcode, payload []byte) []byte {
	dst = AppendHeader(dst, Header{Op: op, Fin: true, Length: uint64(len(payload))})
	return append(dst, payload...)
}

// AppendMaskedFrame adds a whole message or control frame of a client, masked with key:
// NewKey for each frame, RFC 6455 §5.3.
func AppendMaskedFrame(dst []byte, op Opcode, payload []byte, key uint32) []byte {
	dst = AppendHeader(dst, Header{Op: op, Fin: true, Masked: true, Key: key, Length: uint64(len(payload))})
	at := len(dst)
	dst = append(dst, payload...)
	mask(dst[at:], key)
	return dst
}

// AppendCompressed is AppendFrame for a connection with permessage-deflate: a message of
// at least least bytes is compressed, if that makes it smaller. Control frames never are,
// RFC 7692 §6.1.
func AppendCompressed(dst []byte, op Opcode, payload []byte, least int) []byte {
	return appendDeflated(dst, Header{Op: op}, payload, least)
}

// AppendMaskedCompressed is AppendMaskedFrame for a connection with permessage-deflate.
func AppendMaskedCompressed(dst []byte, op Opcode, payload []byte, least int, key uint32) []byte {
	return appendDeflated(dst, Header{Op: op, Masked: true, Key: key}, payload, least)
}

// appendDeflated compresses behind the room for the longest header, and moves the result
// down to the header that it got.
func appendDeflated(dst []byte, h Header, payload []byte, least int) []byte {
	start := len(dst)
	h.Fin = true
	body := payload
	if len(payload) > 0 && len(payload) >= least && !h.Op.control() {
		dst = append(dst, make([]byte, MaxHeader)...)
		dst = deflate(dst, payload)
		if small := dst[start+MaxHeader:]; len(small) < len(payload) {
			body, h.RSV = small, 4
		}
	}
	h.Length = uint64(len(body))
	dst = AppendHeader(dst[:start], h)
	at := len(dst)
	dst = append(dst, body...)
	if h.Masked {
		mask(dst[at:], h.Key)
	}
	return dst
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
