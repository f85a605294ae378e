// Package ocpp is a codec of OCPP-J: the frames in which chargers and their management systems ask and answer, over WebSocket. It
// knows nothing of what they ask. It does no I/O and keeps no state of a connection.
//
// The flow: either side asks (CALL), and the other answers with a result (CALLRESULT) or says why not (CALLERROR), by the message id
// of the CALL. From 2.1 on a side may say that a CALLRESULT is of no use (CALLRESULTERROR), and may tell something that has no answer
// (SEND). Each side has one CALL at a time that is not answered.
//
// Sections are those of "OCPP-J 1.6", and for 2.0.1 and 2.1 of "Part 4: JSON over WebSockets".
package ocpp

// Version is a version of OCPP.
type Version uint8

const (
	V16 Version = iota
	V201
	V21
)

// Versions returns all versions, the newest first.
func Versions() []Version { return []Version{V21, V201, V16} }

// Subprotocol returns the WebSocket subprotocol of the version.
func (v Version) Subprotocol() string { return [...]string{"ocpp1.6", "ocpp2.0.1", "ocpp2.1"}[v] }

// Type is the type of a frame: its first element.
type Type uint8

const (
	Call            Type = 2 // 1.6 §4.2.1: [2, id, action, payload]
	CallResult      Type = 3 // 1.6 §4.2.2: [3, id, payload]
	CallError       Type = 4 // 1.6 §4.2.3: [4, id, code, description, details]
	CallResultError Type = 5 // 2.1 §4.2.4: [5, id, code, description, details]
	Send            Type = 6 // 2.1 §4.2.5: [6, id, action, payload]
)

// knows reports whether the version has frames of type t.
func (v Version) knows(t Type) bool { return t >= Call && (t <= CallError || v == V21 && t <= Send) }

// Frame is one frame. Type decides which fields count.
//
// A decoded frame is borrowed: its strings and slices are views of the message.
type Frame struct {
	Type Type

	// ID pairs an answer with its CALL. Bare says that it is written as a number: the specifications want a string, but some
	// chargers write numbers, and want them back.
	ID   string
	Bare bool

	// Action and Payload belong to a CALL and a SEND, Payload also to a CALLRESULT: a JSON object, as its sender wrote it.
	Action  string
	Payload []byte

	// Code, Description and Details, a JSON value, belong to a CALLERROR and a CALLRESULTERROR.
	Code        string
	Description string
	Details     []byte
}

const (
	// MaxName bounds message ids and actions, in bytes. The specifications allow 36 characters, but a longer id does no harm: it is
	// only repeated.
	MaxName = 255
	// MaxDescription is the longest description of an error, in bytes.
	MaxDescription = 255
	// UnreadableID is the message id of an answer to a frame whose own cannot be read, 2.0.1 §4.2.3.
	UnreadableID = "-1"
)

// empty is the payload of a frame that has none, 1.6 §4.2.1.
var empty = []byte("{}")
