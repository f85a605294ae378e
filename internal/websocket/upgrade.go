package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strconv"
)

// guid is the constant of the accept key, RFC 6455 §1.3.
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// keySize is the length of Sec-WebSocket-Key.
const keySize = 24

// AppendUpgrade appends the 101 response that accepts the request, RFC 6455 §4.2.2. subprotocol is one
// of the offered ones, or empty. deflate accepts the offer of permessage-deflate, if
// req.Window says that there is one.
func AppendUpgrade(dst []byte, req *Request, subprotocol string, deflate bool, extra ...Field) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "...)
	dst = append(appendAccept(dst, req.Key), "\r\n"...)
	if subprotocol != "" {
		dst = appendField(dst, "Sec-WebSocket-Protocol", subprotocol)
	}
	if deflate && req.Window > 0 {
		dst = append(dst, "Sec-WebSocket-Extensions: "+deflateAgreed...)
		if req.named { // RFC 7692 §7.1.2.1: repeating it accepts it
			dst = strconv.AppendUint(append(dst, "; "+serverMaxBits+"="...), uint64(req.Window), 10)
		}
		dst = append(dst, "\r\n"...)
	}
	for _, f := range extra {
		dst = appendField(dst, f.Name, f.Value)
	}
	return append(dst, "\r\n"...)
}

// appendAccept appends the value of Sec-WebSocket-Accept for a key of 24 bytes, RFC 6455 §4.2.2.
func appendAccept(dst, key []byte) []byte {
	var in [keySize + len(guid)]byte
	copy(in[copy(in[:keySize], key):], guid)
	sum := sha1.Sum(in[:])
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// Unescape appends s with its percent escapes decoded, RFC 3986 §2.1.
func Unescape(dst, s []byte) ([]byte, error) {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			dst = append(dst, s[i])
			continue
		}
		if i+2 >= len(s) || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
			return dst, fmt.Errorf("websocket: bad percent escape at byte %d", i)
		}
		dst = append(dst, unhex(s[i+1])<<4|unhex(s[i+2]))
		i += 2
	}
	return dst, nil
}

// unhex returns the value of a hexadecimal digit, more than 15 for any other byte.
func unhex(b byte) byte {
	switch b = lower(b); {
	case digit(b):
		return b - '0'
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10
	}
	return 16
}
