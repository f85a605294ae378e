package mqtt

import "fmt"

// Code is a reason code of MQTT 5, §2.4. 0x80 and above are failures.
type Code uint8

const (
	Success                           Code = 0x00 // also normal disconnection, and granted QoS 0
	GrantedQoS1                       Code = 0x01
	GrantedQoS2                       Code = 0x02
	DisconnectWithWill                Code = 0x04
	NoMatchingSubscribers             Code = 0x10
	NoSubscriptionExisted             Code = 0x11
	ContinueAuthentication            Code = 0x18
	ReAuthenticate                    Code = 0x19
	UnspecifiedError                  Code = 0x80
	MalformedPacket                   Code = 0x81
	ProtocolError                     Code = 0x82
	ImplementationSpecificError       Code = 0x83
	UnsupportedProtocolVersion        Code = 0x84
	ClientIDNotValid                  Code = 0x85
	BadUsernameOrPassword             Code = 0x86
	NotAuthorized                     Code = 0x87
	ServerUnavailable                 Code = 0x88
	ServerBusy                        Code = 0x89
	Banned                            Code = 0x8A
	ServerShuttingDown                Code = 0x8B
	BadAuthenticationMethod           Code = 0x8C
	KeepAliveTimeout                  Code = 0x8D
	SessionTakenOver                  Code = 0x8E
	TopicFilterInvalid                Code = 0x8F
	TopicNameInvalid                  Code = 0x90
	PacketIDInUse                     Code = 0x91
	PacketIDNotFound                  Code = 0x92
	ReceiveMaximumExceeded            Code = 0x93
	TopicAliasInvalid                 Code = 0x94
	PacketTooLarge                    Code = 0x95
	MessageRateTooHigh                Code = 0x96
	QuotaExceeded                     Code = 0x97
	AdministrativeAction              Code = 0x98
	PayloadFormatInvalid              Code = 0x99
	RetainNotSupported                Code = 0x9A
	QoSNotSupported                   Code = 0x9B
	UseAnotherServer                  Code = 0x9C
	ServerMoved                       Code = 0x9D
	SharedSubscriptionsNotSupported   Code = 0x9E
	ConnectionRateExceeded            Code = 0x9F
	MaximumConnectTime                Code = 0xA0
	SubscriptionIDsNotSupported       Code = 0xA1
	WildcardSubscriptionsNotSupported Code = 0xA2
)

// Failed reports whether c is a failure, §2.4.
func (c Code) Failed() bool { return c >= 0x80 }

// String returns the name of c as in §2.4, in lower case.
func (c Code) String() string {
	if name := reasons[c].name; name != "" {
		return name
	}
	return fmt.Sprintf("reason code 0x%02X", uint8(c))
}

// ConnackV3 returns the return code of a 3.1.1 CONNACK for c. There are six: a c without one
// of its own is "server unavailable", 3.1.1 §3.2.2.3.
func (c Code) ConnackV3() byte {
	switch c {
	case Success:
		return 0
	case UnsupportedProtocolVersion:
		return 1
	case ClientIDNotValid:
		return 2
	case BadUsernameOrPassword:
		return 4
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return 5
	}
	return 3
}

// connackV3 are the return codes of a 3.1.1 CONNACK, 3.1.1 §3.2.2.3.
var connackV3 = [...]Code{
	Success, UnsupportedProtocolVersion, ClientIDNotValid, ServerUnavailable, BadUsernameOrPassword, NotAuthorized,
}

// SubackV3 returns the return code of a 3.1.1 SUBACK for c, 3.1.1 §3.9.3.
func (c Code) SubackV3() byte {
	if c.Failed() {
		return byte(UnspecifiedError)
	}
	return byte(c)
}

// reason is the name of a reason code, and the packets in which each side may send it.
type reason struct {
	name           string
	server, client places
}

// legal reports whether a peer, the server or a client, may send c in a packet of type t.
func (c Code) legal(t Type, server bool) bool {
	if server {
		return reasons[c].server.has(t)
	}
	return reasons[c].client.has(t)
}
