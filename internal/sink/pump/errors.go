package pump

import (
	"errors"
	"time"
)

// ErrLeftOut is what Target.Prepare returns for a message that is not for the sink, as if its route had left it out.
var ErrLeftOut = errors.New("the message is not for this sink")

// An error of a target is of one of three kinds. Without more words it means *later*: the pump sends the same records again, after a pause.

// RetryAfter returns err, of the kind later, with the pause that the other side asks for.
func RetryAfter(d time.Duration, err error) error { return &laterError{err, d} }

// Refused returns err as one about a message: it goes to the dead letters with this reason, and the sink goes on.
func Refused(err error) error { return &refusedError{err, -1} }

// RefusedAt is Refused for an error of SendUpTo: records[i] is the message.
func RefusedAt(i int, err error) error { return &refusedError{err, i} }

// Misconfigured returns err as one that only a person can mend: the sink stops and says why, until it is resumed or its configuration changes.
func Misconfigured(err error) error { return &misconfiguredError{err} }

type (
	laterError struct {
		error
		pause time.Duration
	}
	refusedError struct {
		error
		at int
	}
	misconfiguredError struct{ error }
)

func (e *laterError) Unwrap() error         { return e.error }
func (e *refusedError) Unwrap() error       { return e.error }
func (e *misconfiguredError) Unwrap() error { return e.error }

// Pause returns the pause that the other side asks for, as RetryAfter has it; 0 if it asks for none.
func Pause(err error) time.Duration {
	if later, ok := errors.AsType[*laterError](err); ok {
		return later.pause
	}
	return 0
}

// IsRefused reports whether err, or one that it wraps, is of Refused.
func IsRefused(err error) bool {
	_, ok := errors.AsType[*refusedError](err)
	return ok
}

// IsMisconfigured reports whether err, or one that it wraps, is of Misconfigured.
func IsMisconfigured(err error) bool {
	_, ok := errors.AsType[*misconfiguredError](err)
	return ok
}

// refusedAt returns which of the records that are left an error of Refused is about: the first, unless RefusedAt says another.
func refusedAt(err error, records int) int {
	if e, ok := errors.AsType[*refusedError](err); ok && e.at > 0 && e.at < records {
		return e.at
	}
	return 0
}
