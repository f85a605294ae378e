package mqtt

import "github.com/longline/longline/internal/message"

// Properties are the properties of MQTT 5 §2.2.2.2. A property is present when its field is not zero,
// or when it is marked; decoding marks those that it found. Where zero and absent
// differ, an encoder needs Mark: `p.MaximumQoS = 0; p.Mark(PropMaximumQoS)`.
type Properties struct {
	// Of a message: PUBLISH and will
	TextPayload     bool   // payload format indicator: UTF-8
	MessageExpiry   uint32 // seconds; absent means never
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	TopicAlias      uint16   // not of a will
	SubscriptionIDs []uint32 // not of a will; of SUBSCRIBE at most one
	WillDelay       uint32   // seconds; of a will only

	// Of CONNECT and CONNACK; SessionExpiry also of a client's DISCONNECT, AuthMethod and
	// AuthData also of AUTH
	SessionExpiry     uint32 // seconds, 0xFFFFFFFF is never; absent is 0 in CONNECT, elsewhere the value in CONNECT
	ReceiveMaximum    uint16 // absent is 65,535
	MaximumPacket     uint32 // bytes; absent is no limit
	TopicAliasMaximum uint16
	AuthMethod        string
	AuthData          []byte

	// Of CONNECT
	RequestResponse bool
	RequestProblem  bool // absent is true

	// Of CONNACK; ServerReference also of DISCONNECT
	AssignedClientID string
	ServerKeepAlive  uint16 // seconds; absent means the client's
	ResponseInfo     string
	ServerReference  string
	MaximumQoS       message.QoS // 0 or 1; absent is 2

	// Of CONNACK; absent is true
	RetainAvailable, WildcardAvailable, SubscriptionIDsAvailable, SharedAvailable bool

	// Of nearly all packets
	ReasonString string
	User         []message.Property

	present uint64 // bit n is the property with identifier n
}

// Has reports whether the property is present.
func (p *Properties) Has(id PropertyID) bool {
	if p.present&id.bit() != 0 {
		return true
	}
	switch property(id).kind {
	case kindBool:
		return *p.boolean(id)
	case kindQoS:
		return p.MaximumQoS != 0
	case kindUint16:
		return *p.uint16(id) != 0
	case kindUint32:
		return *p.uint32(id) != 0
	case kindText:
		return *p.text(id) != ""
	case kindBinary:
		return *p.binary(id) != nil
	case kindIDs:
		return len(p.SubscriptionIDs) > 0
	case kindPair:
		return len(p.User) > 0
	}
	return false
}

// Mark makes the property present although its field is zero.
func (p *Properties) Mark(id PropertyID) { p.present |= id.bit() }

func (p *Properties) boolean(id PropertyID) *bool {
	switch id {
	case PropPayloadFormat:
		return &p.TextPayload
	case PropRequestProblem:
		return &p.RequestProblem
	case PropRequestResponse:
		return &p.RequestResponse
	case PropRetainAvailable:
		return &p.RetainAvailable
	case PropWildcardAvailable:
		return &p.WildcardAvailable
	case PropSubscriptionIDsAvailable:
		return &p.SubscriptionIDsAvailable
	default:
		return &p.SharedAvailable
	}
}

func (p *Properties) uint16(id PropertyID) *uint16 {
	switch id {
	case PropServerKeepAlive:
		return &p.ServerKeepAlive
	case PropReceiveMaximum:
		return &p.ReceiveMaximum
	case PropTopicAliasMaximum:
		return &p.TopicAliasMaximum
	default:
		return &p.TopicAlias
	}
}

func (p *Properties) uint32(id PropertyID) *uint32 {
	switch id {
	case PropMessageExpiry:
		return &p.MessageExpiry
	case PropSessionExpiry:
		return &p.SessionExpiry
	case PropWillDelay:
		return &p.WillDelay
	default:
		return &p.MaximumPacket
	}
}

func (p *Properties) text(id PropertyID) *string {
	switch id {
	case PropContentType:
		return &p.ContentType
	case PropResponseTopic:
		return &p.ResponseTopic
	case PropAssignedClientID:
		return &p.AssignedClientID
	case PropAuthMethod:
		return &p.AuthMethod
	case PropResponseInfo:
		return &p.ResponseInfo
	case PropServerReference:
		return &p.ServerReference
	default:
		return &p.ReasonString
	}
}

func (p *Properties) binary(id PropertyID) *[]byte {
	if id == PropCorrelationData {
		return &p.CorrelationData
	}
	return &p.AuthData
}
