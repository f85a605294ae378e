package wire

import (
	"math"
	"math/bits"
)

// field names a field of a packet in any encoding.
type field uint8

const (
	fieldOp field = iota
	fieldID
	fieldSession
	fieldResumed
	fieldHeartbeat
	fieldMaxPayload
	fieldMissed
	fieldTopic
	fieldPayload
	fieldData // JSON only: the payload in base64
	fieldType
	fieldQoS
	fieldRetain
	fieldExpiry
	fieldTime
	fieldProps
	fieldFilters
	fieldMethod
	fieldTimeout
	fieldError
	fieldToken
	fieldExpires
	fieldConflate
	fieldAgain
	fieldService

	numFields
)

// kind is the type of a field's value.
type kind uint8

const (
	kindText kind = iota
	kindNumber
	kindFlag
	kindPayload
	kindProps
	kindFilters
	kindError
)

// fields has the name, the kind and the largest number of each field, and
// what a close reason says was wanted.
var fields = [numFields]struct {
	name string
	kind kind
	max  uint64
	want string
}{
	fieldOp:         {name: "op", want: "the name of a packet"},
	fieldID:         {"id", kindNumber, MaxID, "1 to 9007199254740991"},
	fieldSession:    {name: "session", want: "a string"},
	fieldResumed:    {name: "resumed", kind: kindFlag, want: "true or false"},
	fieldHeartbeat:  {"heartbeat", kindNumber, math.MaxUint32, "seconds, 0 to 4294967295"},
	fieldMaxPayload: {"max_payload", kindNumber, MaxID, "bytes, 0 to 9007199254740991"},
	fieldMissed:     {"missed", kindNumber, MaxID, "0 to 9007199254740991"},
	fieldTopic:      {name: "topic", want: "a string"},
	fieldPayload:    {name: "payload", kind: kindPayload, want: "bytes"},
	fieldData:       {name: "data", kind: kindPayload, want: "a string of base64, RFC 4648 section 4"},
	fieldType:       {name: "type", want: "a string"},
	fieldQoS:        {"qos", kindNumber, 1, "0 or 1"},
	fieldRetain:     {name: "retain", kind: kindFlag, want: "true or false"},
	fieldExpiry:     {"expiry", kindNumber, math.MaxUint32, "seconds, 0 to 4294967295"},
	fieldTime:       {"ts", kindNumber, MaxID, "Unix milliseconds, 0 to 9007199254740991"},
	fieldProps:      {name: "props", kind: kindProps, want: "an object of strings"},
	fieldFilters:    {name: "filters", kind: kindFilters, want: "an array of strings"},
	fieldMethod:     {name: "method", want: "a string"},
	fieldTimeout:    {"timeout_ms", kindNumber, math.MaxUint32, "0 to 4294967295"},
	fieldError:      {name: "error", kind: kindError, want: "an object with code, not empty, and reason"},
	fieldToken:      {name: "token", want: "a string"},
	fieldExpires:    {"expires", kindNumber, math.MaxUint32, "seconds, 0 to 4294967295"},
	fieldConflate:   {name: "conflate", kind: kindFlag, want: "true or false"},
	fieldAgain:      {name: "again", kind: kindFlag, want: "true or false"},
	fieldService:    {name: "service", want: "a string"},
}

// form says which fields the packets of one op have. JSON packets are written in this order of
// fields, except for jsonOrder, and the protobuf number of a field is its position plus one.
type form struct {
	name     string
	fields   []field
	required set
	shown    set // those that JSON shows even when they are zero
}

var forms = [...]form{
	Hello: {
		"hello",
		[]field{fieldSession, fieldResumed, fieldHeartbeat, fieldMaxPayload, fieldMissed, fieldExpires},
		setOf(fieldSession), setOf(fieldSession, fieldResumed, fieldHeartbeat, fieldMaxPayload, fieldMissed),
	},
	Pub: {
		"pub",
		[]field{fieldID, fieldTopic, fieldPayload, fieldType, fieldQoS, fieldRetain, fieldExpiry, fieldProps},
		setOf(fieldTopic), 0,
	},
	Ack:   {"ack", []field{fieldID, fieldError, fieldExpires}, setOf(fieldID), 0},
	Sub:   {"sub", []field{fieldID, fieldFilters, fieldQoS, fieldConflate}, setOf(fieldID, fieldFilters), 0},
	Unsub: {"unsub", []field{fieldID, fieldFilters}, setOf(fieldID, fieldFilters), 0},
	Msg: {
		"msg",
		[]field{fieldID, fieldTopic, fieldPayload, fieldType, fieldQoS, fieldRetain, fieldTime, fieldProps},
		setOf(fieldTopic), 0,
	},
	Call: {
		"call",
		[]field{fieldID, fieldMethod, fieldPayload, fieldType, fieldTimeout, fieldAgain, fieldService},
		setOf(fieldID, fieldMethod), 0,
	},
	Reply: {
		"reply",
		[]field{fieldID, fieldPayload, fieldType, fieldError},
		setOf(fieldID), 0,
	},
	Refresh: {"refresh", []field{fieldID, fieldToken}, setOf(fieldID, fieldToken), 0},
}

// set is a set of fields.
type set uint32

func setOf(fs ...field) (s set) {
	for _, f := range fs {
		s |= 1 << f
	}
	return s
}

func (s set) has(f field) bool { return s&(1<<f) != 0 }

// first returns the lowest field of s.
func (s set) first() field { return field(bits.TrailingZeros32(uint32(s))) }

// jsonOrder has the fields in the order in which JSON packets are written: a service is before the method.
var jsonOrder = func() (of [len(forms)][]field) {
	for op := range of {
		of[op] = forms[op].fields
	}
	of[Call] = []field{fieldID, fieldService, fieldMethod, fieldPayload, fieldType, fieldTimeout, fieldAgain}
	return of
}()

// jsonMembers has the members that the JSON packets of each op have.
var jsonMembers = func() (of [len(forms)]set) {
	for op := range of {
		of[op] = setOf(forms[op].fields...)
		if of[op].has(fieldPayload) {
			of[op] |= setOf(fieldData)
		}
	}
	return of
}()

// fieldNamed returns the field with this name in JSON packets.
func fieldNamed(name []byte) (field, bool) {
	switch string(name) {
	case "op":
		return fieldOp, true
	case "id":
		return fieldID, true
	case "session":
		return fieldSession, true
	case "resumed":
		return fieldResumed, true
	case "heartbeat":
		return fieldHeartbeat, true
	case "max_payload":
		return fieldMaxPayload, true
	case "missed":
		return fieldMissed, true
	case "topic":
		return fieldTopic, true
	case "payload":
		return fieldPayload, true
	case "data":
		return fieldData, true
	case "type":
		return fieldType, true
	case "qos":
		return fieldQoS, true
	case "retain":
		return fieldRetain, true
	case "expiry":
		return fieldExpiry, true
	case "ts":
		return fieldTime, true
	case "props":
		return fieldProps, true
	case "filters":
		return fieldFilters, true
	case "method":
		return fieldMethod, true
	case "timeout_ms":
		return fieldTimeout, true
	case "error":
		return fieldError, true
	case "token":
		return fieldToken, true
	case "expires":
		return fieldExpires, true
	case "conflate":
		return fieldConflate, true
	case "again":
		return fieldAgain, true
	case "service":
		return fieldService, true
	}
	return 0, false
}
