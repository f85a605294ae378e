package mqtt

// PropertyID identifies a property, §2.2.2.2. All identifiers of MQTT 5 fit into one byte.
type PropertyID uint8

const (
	PropPayloadFormat            PropertyID = 1
	PropMessageExpiry            PropertyID = 2
	PropContentType              PropertyID = 3
	PropResponseTopic            PropertyID = 8
	PropCorrelationData          PropertyID = 9
	PropSubscriptionID           PropertyID = 11
	PropSessionExpiry            PropertyID = 17
	PropAssignedClientID         PropertyID = 18
	PropServerKeepAlive          PropertyID = 19
	PropAuthMethod               PropertyID = 21
	PropAuthData                 PropertyID = 22
	PropRequestProblem           PropertyID = 23
	PropWillDelay                PropertyID = 24
	PropRequestResponse          PropertyID = 25
	PropResponseInfo             PropertyID = 26
	PropServerReference          PropertyID = 28
	PropReasonString             PropertyID = 31
	PropReceiveMaximum           PropertyID = 33
	PropTopicAliasMaximum        PropertyID = 34
	PropTopicAlias               PropertyID = 35
	PropMaximumQoS               PropertyID = 36
	PropRetainAvailable          PropertyID = 37
	PropUser                     PropertyID = 38
	PropMaximumPacket            PropertyID = 39
	PropWildcardAvailable        PropertyID = 40
	PropSubscriptionIDsAvailable PropertyID = 41
	PropSharedAvailable          PropertyID = 42

	maxProperty = PropSharedAvailable
)

func (id PropertyID) bit() uint64 { return 1 << id }

// kind is the type of a property's value on the wire.
type kind uint8

const (
	kindNone   kind = iota
	kindBool        // a byte, 0 or 1
	kindQoS         // a byte, 0 or 1
	kindUint16      // two bytes
	kindUint32      // four bytes
	kindText        // UTF-8 string
	kindBinary      // binary data
	kindIDs         // variable byte integer; in a PUBLISH any number of times
	kindPair        // UTF-8 string pair, any number of times
)

// places is a set of packet types in which something is allowed: bit t is type t.
type places uint16

// inWill stands for a will's properties among packet types; no packet has type 0.
const inWill Type = 0

func in(types ...Type) (s places) {
	for _, t := range types {
		s |= 1 << t
	}
	return s
}

func (s places) has(t Type) bool { return s>>t&1 != 0 }

// definition is the type of a property's value and where the property may be.
type definition struct {
	kind kind
	in   places
}

var (
	inMessage = in(Publish, inWill)
	inOpening = in(Connect, Connack)
	inConnack = in(Connack)
	inReasons = in(Connack, Puback, Pubrec, Pubrel, Pubcomp, Suback, Unsuback, Disconnect, Auth)
)

// definitions is table 2-4 of §2.2.2.2.
var definitions = [maxProperty + 1]definition{
	PropPayloadFormat:            {kindBool, inMessage},
	PropMessageExpiry:            {kindUint32, inMessage},
	PropContentType:              {kindText, inMessage},
	PropResponseTopic:            {kindText, inMessage},
	PropCorrelationData:          {kindBinary, inMessage},
	PropSubscriptionID:           {kindIDs, in(Publish, Subscribe)},
	PropSessionExpiry:            {kindUint32, inOpening | in(Disconnect)},
	PropAssignedClientID:         {kindText, inConnack},
	PropServerKeepAlive:          {kindUint16, inConnack},
	PropAuthMethod:               {kindText, inOpening | in(Auth)},
	PropAuthData:                 {kindBinary, inOpening | in(Auth)},
	PropRequestProblem:           {kindBool, in(Connect)},
	PropWillDelay:                {kindUint32, in(inWill)},
	PropRequestResponse:          {kindBool, in(Connect)},
	PropResponseInfo:             {kindText, inConnack},
	PropServerReference:          {kindText, inConnack | in(Disconnect)},
	PropReasonString:             {kindText, inReasons},
	PropReceiveMaximum:           {kindUint16, inOpening},
	PropTopicAliasMaximum:        {kindUint16, inOpening},
	PropTopicAlias:               {kindUint16, in(Publish)},
	PropMaximumQoS:               {kindQoS, inConnack},
	PropRetainAvailable:          {kindBool, inConnack},
	PropUser:                     {kindPair, inReasons | inMessage | in(Connect, Subscribe, Unsubscribe)},
	PropMaximumPacket:            {kindUint32, inOpening},
	PropWildcardAvailable:        {kindBool, inConnack},
	PropSubscriptionIDsAvailable: {kindBool, inConnack},
	PropSharedAvailable:          {kindBool, inConnack},
}

// property returns the definition of id; its kind is kindNone if id is unknown.
func property(id PropertyID) definition {
	if id > maxProperty {
		return definition{}
	}
	return definitions[id]
}

// allowed lists the properties that each type of packet may have, and at inWill those of a will.
var allowed = func() (lists [16][]PropertyID) {
	for id, d := range definitions {
		for t := range Type(len(lists)) {
			if d.in.has(t) {
				lists[t] = append(lists[t], PropertyID(id))
			}
		}
	}
	return lists
}()
