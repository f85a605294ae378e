package wire

// Close is why a connection ends: the WebSocket close code and reason that the device
// sees, the error that Go code sees, and the label that the metrics carry. There is one
// value a rule; Because adds what exactly was wrong.
//
// Codes 1000-1015 mean what RFC 6455 §7.4.1 and the IANA registry say; 4000-4099 are
// Longline's own.
type Close struct {
	Code   uint16
	Label  string // of metrics and logs: snake_case, from a closed set
	Reason string // at most 123 bytes of UTF-8, RFC 6455 §5.5
}

func (c *Close) Error() string { return c.Label + ": " + c.Reason }

// Is makes errors.Is match a Because of the same rule.
func (c *Close) Is(target error) bool {
	t, ok := target.(*Close)
	return ok && t.Label == c.Label
}

// maxReason is what a close frame has left after its code, RFC 6455 §5.5.
const maxReason = 123

// Because returns c with a reason that says what exactly was wrong.
func (c *Close) Because(reason string) *Close {
	if len(reason) > maxReason {
		reason = reason[:maxReason]
		for len(reason) > 0 && reason[len(reason)-1]&0xC0 == 0x80 { // do not cut a rune
			reason = reason[:len(reason)-1]
		}
		if len(reason) > 0 && reason[len(reason)-1] >= 0xC0 {
			reason = reason[:len(reason)-1]
		}
	}
	return &Close{c.Code, c.Label, reason}
}

// The rules of the contract and of the gateway.
var (
	CloseNormal       = &Close{1000, "normal", "bye"}
	CloseGoingAway    = &Close{1001, "going_away", "the gateway is shutting down"}
	CloseProtocol     = &Close{1002, "websocket_protocol", "the frame breaks RFC 6455"}
	CloseKind         = &Close{1003, "frame_kind", "this subprotocol does not use frames of this kind"}
	CloseInvalidUTF8  = &Close{1007, "invalid_utf8", "text is not valid UTF-8"}
	CloseMalformed    = &Close{1007, "malformed_packet", "the packet does not parse"}
	CloseContract     = &Close{1008, "contract", "the packet breaks the contract"}
	CloseTooBig       = &Close{1009, "too_big", "the message is larger than max_payload"}
	CloseInternal     = &Close{1011, "internal", "the gateway failed; please report it"}
	CloseRestart      = &Close{1012, "restart", "the gateway restarts; reconnect"}
	CloseOverload     = &Close{1013, "overload", "the gateway is overloaded; try again later"}
	CloseTakenOver    = &Close{4000, "taken_over", "the device connected again"}
	CloseHeartbeat    = &Close{4001, "heartbeat_lost", "nothing was heard from the device in time"}
	CloseUnauthorized = &Close{4002, "unauthorized", "the credential is not accepted"}
	CloseSlowConsumer = &Close{4003, "slow_consumer", "the device reads too slowly"}
	CloseDrained      = &Close{4004, "drained", "the node is drained; reconnect"}
	CloseKicked       = &Close{4005, "kicked", "an operator disconnected the device"}
)
