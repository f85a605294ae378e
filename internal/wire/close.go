package wire

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Close is why a connection ends: the WebSocket close code and reason that the device
// gets, the Go error, and the metrics' label. There is one
// value per rule; Because adds what exactly was wrong.
//
// Codes 1000-1015 mean what RFC 6455 §7.4.1 and the IANA registry say; 4000-4099 are
// Longline's own.
type Close struct {
	Code   uint16
	Label  string // of metrics and logs: snake_case, from a closed set
	Reason string // at most 123 bytes of UTF-8, RFC 6455 §5.5
	Server string // where the device should connect; only MQTT 5 can tell it
}

func (c *Close) Error() string { return c.Label + ": " + c.Reason }

// Is reports whether target has the same label, so that errors.Is matches the result of Because.
func (c *Close) Is(target error) bool {
	t, ok := target.(*Close)
	return ok && t.Label == c.Label
}

// maxReason is how many bytes a close frame has for its reason, RFC 6455 §5.5.
const maxReason = 123

// Because returns a copy of c with a reason that says what exactly was wrong, cut to the size of a
// close frame.
func (c *Close) Because(reason string) *Close {
	reason = strings.ToValidUTF8(reason, "\uFFFD")
	if len(reason) > maxReason {
		end := maxReason
		for !utf8.RuneStart(reason[end]) { // do not cut a rune
			end--
		}
		reason = reason[:end]
	}
	return &Close{Code: c.Code, Label: c.Label, Reason: reason, Server: c.Server}
}

// To returns a copy of c that names the server to which the device should connect.
func (c *Close) To(server string) *Close {
	return &Close{Code: c.Code, Label: c.Label, Reason: c.Reason, Server: server}
}

// AskedDelay returns how long a gateway asks the device to stay away in the reason of a close frame, such
// as "drained; retry after 12s"; 0 if it does not ask.
func AskedDelay(reason string) time.Duration {
	_, rest, _ := strings.Cut(strings.ToLower(reason), "retry after ")
	word, _, _ := strings.Cut(rest, " ")
	d, err := time.ParseDuration(strings.TrimRight(word, ".,;:)"))
	if err != nil {
		return 0
	}
	return max(0, d)
}

// The rules of the contract and of the gateway. docs/protocol.md says what a device does
// about each.
var (
	CloseNormal       = rule(1000, "normal", "bye")
	CloseGoingAway    = rule(1001, "going_away", "the gateway is shutting down")
	CloseKind         = rule(1003, "frame_kind", "this subprotocol does not use frames of this kind")
	CloseInvalidUTF8  = rule(1007, "invalid_utf8", "text is not valid UTF-8")
	CloseMalformed    = rule(1007, "malformed_packet", "the packet does not parse")
	CloseContract     = rule(1008, "contract", "the packet breaks the contract")
	CloseReceiveMax   = rule(1008, "receive_maximum", "too many QoS 2 publications without PUBREL")
	CloseRate         = rule(1008, "rate", "the device exceeds its rate limit")
	CloseInternal     = rule(1011, "internal", "internal error of the gateway; please report it")
	CloseRestart      = rule(1012, "restart", "the gateway restarts; reconnect")
	CloseMoved        = rule(1012, "moved", "try another node")
	CloseBusy         = rule(1013, "busy", "the node accepts no more connections at the moment")
	CloseTakenOver    = rule(4000, "taken_over", "the device connected again")
	CloseHeartbeat    = rule(4001, "heartbeat_lost", "no data from the device within the heartbeat timeout")
	CloseUnauthorized = rule(4002, "unauthorized", "the credential is not accepted")
	CloseTokenExpired = rule(4003, "token_expired", "the credential has expired and was not refreshed")
	CloseRevoked      = rule(4004, "revoked", "the credential was revoked")
	CloseKicked       = rule(4005, "kicked", "an operator disconnected the device")
	CloseSlowConsumer = rule(4006, "slow_consumer", "the device did not read what was sent to it")
	CloseSlowMessage  = rule(4007, "message_timeout", "a message took too long to arrive")
	CloseAckTimeout   = rule(4008, "ack_timeout", "publishers are waiting for messages that the device did not acknowledge in time")
)

var rules []*Close

func rule(code uint16, label, reason string) *Close {
	c := &Close{Code: code, Label: label, Reason: reason}
	rules = append(rules, c)
	return c
}

// Rules returns every rule, ordered by code. Metrics count closes by rule.
func Rules() []*Close { return slices.Clone(rules) }
