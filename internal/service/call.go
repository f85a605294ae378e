package service

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Call is what a device asks of a service. It is immutable once it is given to Set.Begin.
type Call struct {
	Device, Method string
	ID             uint64 // of this call, unique within the node: Set.Begin sets it; a backend answers by it
	Payload        []byte // owned by the call
	ContentType    string // empty if it is unknown
	Trace          string // traceparent, empty if there is none
}

// Reply is the answer to a Call. Err.Code is empty if the service has answered.
type Reply struct {
	Payload     []byte // owned by the reply
	ContentType string // empty if it is unknown
	Err         Refusal
}

// Refusal says why a call has no answer.
type Refusal struct {
	Code   string // one of the constants below, or a service's own: 1 to 64 of a-z 0-9 _
	Reason string // for people, at most 256 bytes, printable
}

// The codes of refusals. A service may have codes of its own.
const (
	UnknownService = "unknown_service" // no service has this name
	UnknownMethod  = "unknown_method"  // the method is not 1 to 128 of A-Z a-z 0-9 . _ : -
	NotAllowed     = "not_allowed"     // the device may not call the service
	Busy           = "busy"            // too many calls are under way: of the service, or of the device
	Unavailable    = "unavailable"     // the call has reached nobody: no instance, the breaker is open, nobody serves
	Timeout        = "timeout"         // there is no answer in time; the call may have been done
	Failed         = "failed"          // the service says so, or it ended the connection; the call may have been done
	TooLarge       = "too_large"       // the answer is too large
	InvalidAnswer  = "invalid_answer"  // the answer is not HTTP, or not of a type that is accepted
	Canceled       = "canceled"        // nobody waits for the answer any more
)

// refuse returns a Reply without an answer.
func refuse(code, reason string) *Reply { return &Reply{Err: Refusal{Code: code, Reason: reason}} }

const (
	mostMethod = 128
	mostCode   = 64
	mostReason = 256
)

// validMethod reports whether name may be the name of a method: it is a segment of a path as it is.
func validMethod(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._:-", rune(c)) {
			return false
		}
	}
	return name != "" && len(name) <= mostMethod && name != "." && name != ".."
}

// ValidCode reports whether code may be the code of a refusal.
func ValidCode(code string) bool {
	for i := range len(code) {
		if c := code[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return code != "" && len(code) <= mostCode
}

// CutReason returns a reason without what is not printable, and of at most 256 bytes.
func CutReason(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, reason[:min(len(reason), 2*mostReason)])
	n := min(len(reason), mostReason)
	for n < len(reason) && !utf8.RuneStart(reason[n]) {
		n--
	}
	return strings.Clone(reason[:n]) // and not the whole answer that it may be part of
}
