package websocket

import "strconv"

// HTTPError refuses a handshake: a status, and a sentence for the user.
type HTTPError struct {
	Status int
	Reason string  // the response's body, without a line end
	Header []Field // header fields that the status requires
}

func (e *HTTPError) Error() string {
	return "websocket: " + strconv.Itoa(e.Status) + ": " + e.Reason
}

// AppendHTTPError appends a whole HTTP/1.1 response that closes the connection.
func AppendHTTPError(dst []byte, e *HTTPError) []byte {
	dst = strconv.AppendInt(append(dst, "HTTP/1.1 "...), int64(e.Status), 10)
	dst = append(append(append(dst, ' '), statusText(e.Status)...), "\r\n"...)
	dst = appendField(dst, "Content-Type", "text/plain; charset=utf-8")
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(e.Reason)+1), 10)
	dst = append(dst, "\r\nConnection: close\r\n"...)
	for _, f := range e.Header {
		dst = appendField(dst, f.Name, f.Value)
	}
	return append(append(append(dst, "\r\n"...), e.Reason...), '\n')
}

// statusText returns the name of a status with which a handshake may end, RFC 9110 §15 and
// RFC 6585; for any other, the name of its class.
func statusText(status int) string {
	switch status {
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 426:
		return "Upgrade Required"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 503:
		return "Service Unavailable"
	case 505:
		return "HTTP Version Not Supported"
	}
	if status < 500 {
		return "Client Error"
	}
	return "Server Error"
}

// The errors of a server's handshake, in addition to malformed lines.
var (
	// RFC 6585 §5.
	errHeadTooLarge  = &HTTPError{Status: 431, Reason: "The header is too large."}
	errTooManyFields = &HTTPError{Status: 431, Reason: "The header has too many lines."}
	// RFC 9112 §3.
	errRequestLine = &HTTPError{Status: 400, Reason: "The request line is not METHOD SP TARGET SP HTTP/1.1."}
	// RFC 6455 §4.1: GET, with HTTP/1.1 at least.
	errVersion = &HTTPError{Status: 505, Reason: "WebSocket connections start with HTTP/1.1, also behind a proxy (nginx: proxy_http_version 1.1)."}
	errMethod  = &HTTPError{405, "WebSocket connections start with GET.", []Field{{"Allow", "GET"}}}
	// RFC 9112 §3.2.
	errHost = &HTTPError{Status: 400, Reason: "The request must have exactly one Host."}
	errBody = &HTTPError{Status: 400, Reason: "A WebSocket request must not have a body."}
	// RFC 6455 §4.2.1, RFC 9110 §15.5.22.
	errNotUpgrade = &HTTPError{426, "This is a WebSocket endpoint: connect with a WebSocket client (ws:// or wss://), not with a browser's address bar. " +
		"A proxy in between must forward Upgrade and Connection.",
		[]Field{{"Upgrade", "websocket"}, {"Connection", "Upgrade"}}}
	errKey = &HTTPError{Status: 400, Reason: "Sec-WebSocket-Key must come once and be 16 bytes in base64."}
	// RFC 6455 §4.4.
	errWSVersion = &HTTPError{426, "Only version 13 of WebSocket is supported.",
		[]Field{{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Version", "13"}}}
	errProtocol   = &HTTPError{Status: 400, Reason: "Sec-WebSocket-Protocol is not a list of tokens."}
	errExtensions = &HTTPError{Status: 400, Reason: "Sec-WebSocket-Extensions breaks the grammar of RFC 6455, section 9.1."}
	// A header that decides something must be unambiguous.
	errRepeated = &HTTPError{Status: 400, Reason: "Origin, Authorization and Sec-WebSocket-Version may come only once."}
)
