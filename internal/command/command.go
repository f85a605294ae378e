// Package command keeps commands: calls to devices that outlive connections and restarts of both sides, and whose state is
// true.
//
// The flow: a backend creates a command (Manager.Create), which is kept in the store. When the device is connected and its turn has
// come, the loop of its connection takes the command (Manager.Take), writes it as a call with the command's ID, and
// reports what became of that (Handed, Refused). The device's reply ends it (Answer), or its time, or a backend (Cancel).
// If the connection ends first (Cut), the device gets the call again, with the same ID, on its next connection.
//
// Each change is a step of the rules in status.go. It counts at once, is given to the store, and is shown to backends when it is
// safe there: so what a backend was told is never taken back.
package command

import (
	"bytes"

	"github.com/longline/longline/internal/wire"
)

// Request is what a backend asks for. It does not change.
type Request struct {
	Device      string
	Method      string
	Payload     []byte
	ContentType string
	Key         string // names the request, so that to repeat it makes no second command; empty for none
	Exclusive   bool   // nothing else is in flight to the device with it
	Created     int64  // Unix milliseconds
	Expires     int64  // Unix milliseconds; the device has to answer before
}

// same reports whether a request with the same key is the same request.
func (r *Request) same(x *Request) bool {
	return r.Device == x.Device && r.Method == x.Method && r.ContentType == x.ContentType && r.Exclusive == x.Exclusive &&
		bytes.Equal(r.Payload, x.Payload)
}

// Command is a command at one moment. It does not change: each change makes another one.
type Command struct {
	*Request
	Status
	ID       uint64
	Place    uint64 // of the last change that shows, ascending over all commands of the node
	Attempts uint32 // how often it was sent
	Ended    int64  // Unix milliseconds; 0 while it is open
	Answer   *Answer
	Late     *Answer // came after the end, beside the state
	History  []Event // oldest first, at most maxHistory
	Held     string  // why the present connection of the device did not take it; empty if it did, or was not asked

	version uint64 // of all changes
}

// Event is a step of a command's history.
type Event struct {
	State   State
	Time    int64  // Unix milliseconds
	Attempt uint32 // if State is Sent: which time, from 1
	Session string // and the connection: its session,
	Since   int64  // and the time when it began, in Unix milliseconds
}

// maxHistory bounds a history: if the command is sent more often, the oldest attempts but the first are left out.
const maxHistory = 12

// Answer is what a device answered.
type Answer struct {
	Payload     []byte
	ContentType string
	Err         wire.Error // its Code is empty if the device did what it was asked
	Time        int64      // Unix milliseconds
	Omitted     int        // size of the payload if it is not kept, because it is too large
}

// happened returns the event of a state that a device's answer leads to.
func (a *Answer) happened() event {
	if a.Err.Code != "" {
		return fail
	}
	return succeed
}

func (a *Answer) size() int {
	if a == nil {
		return 0
	}
	return len(a.Payload) + len(a.ContentType) + len(a.Err.Code) + len(a.Err.Reason)
}

// What a command takes besides the contents of its request and its answers, and for each event of its history.
const (
	overhead  = 1024
	eventSize = 64
)

// Size is how many bytes the command counts in Config.MaxBytes or Config.MaxEndedBytes.
func (c *Command) Size() int {
	r := c.Request
	return overhead + eventSize*len(c.History) + len(r.Device) + len(r.Method) + len(r.Payload) + len(r.ContentType) + len(r.Key) + c.Answer.size() + c.Late.size()
}

// note adds to the history.
func (c *Command) note(e Event) {
	history := make([]Event, 0, len(c.History)+1)
	history = append(history, c.History...)
	if len(history) >= maxHistory {
		history = append(history[:2], history[3:]...) // after Queued and the first Sent
	}
	history = append(history, e)
	c.History = history
}
