package ocpp

import "strings"

// Code says what is wrong with a frame, or why a CALL is refused: 1.6 §4.2.3, 2.0.1 §4.3.
type Code uint8

const (
	GenericError Code = iota
	FormatViolation
	FrameworkError
	MessageTypeNotSupported
	NotImplemented
	NotSupported
	InternalError
	ProtocolError
	SecurityError
	PropertyViolation
	OccurrenceViolation
	TypeViolation
)

// names are the codes' names: in 1.6, with its spelling, and later. 1.6 has two codes less.
var names = [...][2]string{
	GenericError:            {"GenericError", "GenericError"},
	FormatViolation:         {"FormationViolation", "FormatViolation"},
	FrameworkError:          {"FormationViolation", "RpcFrameworkError"},
	MessageTypeNotSupported: {"GenericError", "MessageTypeNotSupported"},
	NotImplemented:          {"NotImplemented", "NotImplemented"},
	NotSupported:            {"NotSupported", "NotSupported"},
	InternalError:           {"InternalError", "InternalError"},
	ProtocolError:           {"ProtocolError", "ProtocolError"},
	SecurityError:           {"SecurityError", "SecurityError"},
	PropertyViolation:       {"PropertyConstraintViolation", "PropertyConstraintViolation"},
	OccurrenceViolation:     {"OccurenceConstraintViolation", "OccurrenceConstraintViolation"},
	TypeViolation:           {"TypeConstraintViolation", "TypeConstraintViolation"},
}

// Name returns the code as the version writes it.
func (v Version) Name(c Code) string { return names[c][min(v, V201)] }

// ParseCode returns the code that has a name in one of the versions, in any case and with or without underscores, such as
// NotImplemented or not_implemented.
func ParseCode(name string) (c Code, ok bool) {
	name = strings.ReplaceAll(name, "_", "")
	for c, spellings := range names {
		if strings.EqualFold(name, spellings[0]) || strings.EqualFold(name, spellings[1]) {
			return Code(c), true
		}
	}
	return GenericError, false
}

// Error says what is wrong with a frame.
type Error struct {
	Code   Code
	Reason string
}

func (e *Error) Error() string { return names[e.Code][1] + ": " + e.Reason }
