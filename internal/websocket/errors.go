package websocket

// Error is a broken rule of RFC 6455 or RFC 7692: the Go error, the code and reason of
// the close frame, and the metrics' label. There is one value per rule, so == works.
type Error struct {
	Code   uint16 // close code, RFC 6455 §7.4.1
	Label  string // snake_case, from a closed set
	Reason string // for the close frame: ASCII, at most 123 bytes
}

func (e *Error) Error() string { return "websocket: " + e.Reason }

// The close codes that this package uses, RFC 6455 §7.4.1.
const (
	CodeNormal        uint16 = 1000
	CodeGoingAway     uint16 = 1001
	CodeProtocolError uint16 = 1002
	CodeNoStatus      uint16 = 1005 // a close frame without a code; never on the wire
	CodeInvalidData   uint16 = 1007
	CodeTooBig        uint16 = 1009
)

// The rules that Next enforces.
var (
	// RFC 6455 §5.2: RSV1-3 must be 0 unless an extension gives them a meaning.
	// RFC 7692 §6: RSV1 marks the first frame of a compressed message, and only that.
	ErrReservedBits = &Error{CodeProtocolError, "reserved_bits", "reserved bits are set"}
	// RFC 6455 §5.2: opcodes 3-7 and 11-15 are reserved.
	ErrReservedOpcode = &Error{CodeProtocolError, "reserved_opcode", "the opcode is reserved"}
	// RFC 6455 §5.1: a client must mask every frame.
	ErrNotMasked = &Error{CodeProtocolError, "not_masked", "a client's frame is not masked"}
	// RFC 6455 §5.1: a server must not mask.
	ErrMasked = &Error{CodeProtocolError, "masked", "a server's frame is masked"}
	// RFC 6455 §5.5: control frames must not be fragmented.
	ErrControlFragmented = &Error{CodeProtocolError, "control_fragmented", "a control frame is fragmented"}
	// RFC 6455 §5.5: control frames carry at most 125 bytes.
	ErrControlTooLong = &Error{CodeProtocolError, "control_too_long", "a control frame is longer than 125 bytes"}
	// RFC 6455 §5.4: a continuation needs a message to continue.
	ErrUnexpectedContinuation = &Error{CodeProtocolError, "unexpected_continuation", "there is no message to continue"}
	// RFC 6455 §5.4: fragments of one message must not be interleaved with another.
	ErrInterleaved = &Error{CodeProtocolError, "interleaved", "a message starts inside a fragmented one"}
	// RFC 6455 §5.2: the minimal number of bytes must be used for the length.
	ErrLengthEncoding = &Error{CodeProtocolError, "length_encoding", "the length is not in its shortest form"}
	// RFC 6455 §5.2: the most significant bit of a 64-bit length must be 0.
	ErrLengthRange = &Error{CodeProtocolError, "length_range", "the length has its top bit set"}
	// RFC 6455 §5.5.1: a close frame is empty or starts with a code of two bytes.
	ErrClosePayload = &Error{CodeProtocolError, "close_payload", "the close frame has half a code"}
	// RFC 6455 §7.4: some codes are reserved or must not be sent.
	ErrCloseCode = &Error{CodeProtocolError, "close_code", "the close code must not be sent"}
	// RFC 6455 §5.5.1: the reason is UTF-8; §8.1: what is not fails the connection.
	ErrCloseReason = &Error{CodeInvalidData, "close_reason", "the close reason is not UTF-8"}
	// RFC 6455 §8.1: text is UTF-8.
	ErrInvalidUTF8 = &Error{CodeInvalidData, "invalid_utf8", "the text is not UTF-8"}
	// RFC 7692 §7.2.2: the payload with its tail put back is DEFLATE, RFC 1951.
	ErrDeflate = &Error{CodeInvalidData, "bad_deflate", "the compressed data is corrupt"}
	// RFC 6455 §10.4: implementation limits.
	ErrMessageTooBig = &Error{CodeTooBig, "message_too_big", "the message is too big"}
	ErrFrameTooBig   = &Error{CodeTooBig, "frame_too_big", "the frame is too big"}
)
