package mqtt

import "slices"

// Error is a rule that a packet breaks. There is one value per rule, so == tells them
// apart: the same value is the Go error, the reason code that the peer gets, and the
// metrics' label.
type Error struct {
	Code   Code   // for a CONNACK or DISCONNECT
	Rule   string // the mark or section of the rule in MQTT 5, or, with "3.1.1" in front, in 3.1.1
	Reason string // what was wrong, in one line at most
}

func (e *Error) Error() string { return "mqtt: " + e.Reason + " [" + e.Rule + "]" }

var rules []*Error

func rule(code Code, mark, reason string) *Error {
	e := &Error{code, mark, reason}
	rules = append(rules, e)
	return e
}

// Rules returns every rule. Metrics count refusals by rule.
func Rules() []*Error { return slices.Clone(rules) }

// The fixed header.
var (
	ErrReservedType     = rule(MalformedPacket, "MQTT5 §2.1.2", "packet type 0 is reserved")
	ErrSender           = rule(ProtocolError, "MQTT5 §2.1.2", "this peer does not send packets of this type")
	ErrNotConnect       = rule(ProtocolError, "MQTT-3.1.0-1", "the first packet is not CONNECT")
	ErrSecondConnect    = rule(ProtocolError, "MQTT-3.1.0-2", "a second CONNECT")
	ErrFlags            = rule(MalformedPacket, "MQTT-2.1.3-1", "reserved flags of the fixed header are set")
	ErrPubrelFlags      = rule(MalformedPacket, "MQTT-3.6.1-1", "the flags of PUBREL are not 0010")
	ErrSubscribeFlags   = rule(MalformedPacket, "MQTT-3.8.1-1", "the flags of SUBSCRIBE are not 0010")
	ErrUnsubscribeFlags = rule(MalformedPacket, "MQTT-3.10.1-1", "the flags of UNSUBSCRIBE are not 0010")
	ErrDisconnectFlags  = rule(MalformedPacket, "MQTT-3.14.1-1", "the flags of DISCONNECT are not 0000")
	ErrAuthFlags        = rule(MalformedPacket, "MQTT-3.15.1-1", "the flags of AUTH are not 0000")
	ErrDup              = rule(MalformedPacket, "MQTT-3.3.1-2", "DUP on a PUBLISH of QoS 0")
	ErrQoS              = rule(MalformedPacket, "MQTT-3.3.1-4", "a PUBLISH of QoS 3")
	ErrLength           = rule(MalformedPacket, "MQTT5 §2.1.4", "the remaining length is longer than four bytes")
	ErrTooLarge         = rule(PacketTooLarge, "MQTT-3.2.2-15", "the packet is larger than the maximum packet size")
)

// The fields of packets.
var (
	ErrTruncated = rule(MalformedPacket, "MQTT5 §1.2", "a field extends beyond the end of the packet")
	ErrTrailing  = rule(MalformedPacket, "MQTT5 §1.2", "bytes follow the last field")
	ErrUTF8      = rule(MalformedPacket, "MQTT-1.5.4-1", "a string is not well-formed UTF-8")
	ErrNull      = rule(MalformedPacket, "MQTT-1.5.4-2", "a string contains the null character U+0000")
	ErrVarint    = rule(MalformedPacket, "MQTT-1.5.5-1", "a variable byte integer is not in its shortest form, or longer than four bytes")
	ErrPacketID  = rule(ProtocolError, "MQTT-2.2.1-3", "the packet identifier is 0")
	ErrTooLong   = rule(PacketTooLarge, "MQTT-4.7.3-3", "a string or binary field is longer than 65,535 bytes")
)

// CONNECT and CONNACK.
var (
	ErrProtocolName     = rule(UnsupportedProtocolVersion, "MQTT-3.1.2-1", "the protocol name is not MQTT")
	ErrProtocolLevel    = rule(UnsupportedProtocolVersion, "MQTT-3.1.2-2", "the protocol version is not supported")
	ErrConnectFlag      = rule(MalformedPacket, "MQTT-3.1.2-3", "the reserved flag of CONNECT is set")
	ErrWillQoS          = rule(MalformedPacket, "MQTT-3.1.2-11", "a will QoS without a will")
	ErrWillQoS3         = rule(MalformedPacket, "MQTT-3.1.2-12", "a will QoS of 3")
	ErrWillRetain       = rule(MalformedPacket, "MQTT-3.1.2-13", "will retain without a will")
	ErrPasswordAlone    = rule(MalformedPacket, "3.1.1 MQTT-3.1.2-22", "a password without a user name")
	ErrNoClientID       = rule(ClientIDNotValid, "3.1.1 MQTT-3.1.3-8", "no client identifier, but the session is not clean")
	ErrConnackFlags     = rule(MalformedPacket, "MQTT-3.2.2-1", "reserved flags of CONNACK are set")
	ErrSessionOfRefused = rule(ProtocolError, "MQTT-3.2.2-6", "session present in a refusal")
)

// Topics.
var (
	ErrNoTopic       = rule(ProtocolError, "MQTT5 §3.3.2.1", "neither a topic name nor a topic alias")
	ErrEmptyTopic    = rule(TopicNameInvalid, "MQTT-4.7.3-1", "an empty topic name")
	ErrEmptyFilter   = rule(ProtocolError, "MQTT-4.7.3-1", "an empty topic filter")
	ErrFilter        = rule(ProtocolError, "MQTT-4.7.1-1", "a topic filter with a misplaced wildcard, or a shared one without a group or a filter")
	ErrTopicWildcard = rule(TopicNameInvalid, "MQTT-3.3.2-2", "a topic name with wildcard characters")
	ErrTopicAlias    = rule(TopicAliasInvalid, "MQTT-3.3.2-8", "a topic alias of 0")
	ErrResponseTopic = rule(ProtocolError, "MQTT-3.3.2-14", "a response topic with wildcard characters")
)

// SUBSCRIBE and UNSUBSCRIBE.
var (
	ErrNoSubscription     = rule(ProtocolError, "MQTT-3.8.3-2", "a SUBSCRIBE without a filter")
	ErrSubscriptionQoS    = rule(ProtocolError, "MQTT5 §3.8.3.1", "a maximum QoS of 3")
	ErrSubscriptionQoSV3  = rule(MalformedPacket, "3.1.1 MQTT-3.8.3-4", "a requested QoS that is not 0, 1 or 2, or reserved bits beside it")
	ErrRetainHandling     = rule(ProtocolError, "MQTT5 §3.8.3.1", "a retain handling of 3")
	ErrSharedNoLocal      = rule(ProtocolError, "MQTT-3.8.3-4", "no local on a shared subscription")
	ErrSubscriptionOption = rule(MalformedPacket, "MQTT-3.8.3-5", "reserved bits of subscription options are set")
	ErrNoFilter           = rule(ProtocolError, "MQTT-3.10.3-2", "an UNSUBSCRIBE without a filter")
	ErrNoCode             = rule(ProtocolError, "MQTT-3.8.4-6", "an acknowledgement without a reason code")
)

// Properties.
var (
	ErrUnknownProperty   = rule(MalformedPacket, "MQTT5 §2.2.2.2", "an unknown property")
	ErrPropertyPlace     = rule(MalformedPacket, "MQTT5 §2.2.2.2", "a property that this packet may not have")
	ErrPropertyTwice     = rule(ProtocolError, "MQTT5 §2.2.2.2", "a property that may come only once came twice")
	ErrPropertyBool      = rule(ProtocolError, "MQTT5 §2.2.2.2", "a property that is neither 0 nor 1")
	ErrReceiveMaximum    = rule(ProtocolError, "MQTT5 §3.1.2.11.3", "a receive maximum of 0")
	ErrMaximumPacket     = rule(ProtocolError, "MQTT5 §3.1.2.11.4", "a maximum packet size of 0")
	ErrAuthData          = rule(ProtocolError, "MQTT5 §3.1.2.11.10", "authentication data without a method")
	ErrAuthMethod        = rule(ProtocolError, "MQTT5 §3.15.2.2.2", "an AUTH without an authentication method")
	ErrSubscriptionID    = rule(ProtocolError, "MQTT5 §3.8.2.1.2", "a subscription identifier of 0")
	ErrClientsID         = rule(ProtocolError, "MQTT-3.3.4-6", "a subscription identifier in a client's PUBLISH")
	ErrServersExpiry     = rule(ProtocolError, "MQTT-3.14.2-2", "a session expiry interval in a server's DISCONNECT")
	ErrPropertiesTooLong = rule(MalformedPacket, "MQTT5 §2.2.2.1", "the properties extend beyond the end of the packet")
)

// Reason codes that the packet may not have, from this peer.
var (
	ErrConnackCode    = rule(ProtocolError, "MQTT-3.2.2-8", "not a reason code of CONNACK")
	ErrPubackCode     = rule(ProtocolError, "MQTT-3.4.2-1", "not a reason code of PUBACK")
	ErrPubrecCode     = rule(ProtocolError, "MQTT-3.5.2-1", "not a reason code of PUBREC")
	ErrPubrelCode     = rule(ProtocolError, "MQTT-3.6.2-1", "not a reason code of PUBREL")
	ErrPubcompCode    = rule(ProtocolError, "MQTT-3.7.2-1", "not a reason code of PUBCOMP")
	ErrSubackCode     = rule(ProtocolError, "MQTT-3.9.3-2", "not a reason code of SUBACK")
	ErrUnsubackCode   = rule(ProtocolError, "MQTT-3.11.3-2", "not a reason code of UNSUBACK")
	ErrDisconnectCode = rule(ProtocolError, "MQTT-3.14.2-1", "not a reason code of DISCONNECT")
	ErrAuthCode       = rule(ProtocolError, "MQTT-3.15.2-1", "not a reason code of AUTH")
)
