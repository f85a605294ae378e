package route

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/message"
)

// View is one message on its way through a Route, and what was made of it so far: nothing that nobody asks for. It is reused for one message
// after the other, and is not for more than one goroutine at a time. The zero View is ready for Reset.
type View struct {
	Node   uint16    // the node's number
	Stream string    // the stream that the message is read from
	Place  uint64    // its place there
	Time   time.Time // when the gateway received it

	message *message.Message
	added   []message.Property
	route   *Route // nil until Apply
	levels  []string

	// The payload as a tree, once it was needed.
	tree    format.Tree
	from    format.Format // that it was decoded by; nil before
	treeErr error
	changed bool
	work    int // steps of the evaluation, or of copies since then

	// The payload as it leaves, once it was needed.
	encoded    []byte // nil before
	encodedErr error

	scratch []byte
	values  []any
}

// Reset makes v the view of the owned message m, received at m.Time. Node and Stream stay, Place is 0. What v lent of the message
// before is no longer valid.
func (v *View) Reset(m *message.Message) {
	const keepScratch = 64 << 10
	if cap(v.scratch) > keepScratch {
		v.scratch = nil
	}
	clear(v.levels)
	if v.from != nil {
		v.tree.Reset()
	}
	v.message, v.Place, v.Time = m, 0, time.UnixMilli(m.Time)
	v.route, v.levels, v.added = nil, v.levels[:0], nil
	v.from, v.treeErr, v.changed, v.work = nil, nil, false, 0
	v.encoded, v.encodedErr = nil, nil
}

// Message returns the message as it came.
func (v *View) Message() *message.Message { return v.message }

// AddProperty adds a user property. It comes before those of the message that have the same name.
func (v *View) AddProperty(key, value string) {
	v.added = append(v.added, message.Property{Key: key, Value: value})
}

// Added returns what AddProperty has added. It stays as it is after Reset.
func (v *View) Added() []message.Property { return v.added }

// Tree returns the payload as a tree, with the changes that were made. It is decoded by the first call, and valid until the next Reset.
// Nobody but Set changes it. An error is about this message alone, unless it wraps format.ErrAway.
func (v *View) Tree() (*format.Tree, error) {
	if v.from == nil {
		v.from = v.payloadFormat()
		if err := v.from.Decode(&v.tree, v.message.Payload); err != nil {
			v.treeErr = fmt.Errorf("payload: %w", err)
		}
	}
	return &v.tree, v.treeErr
}

// Set makes a field of the payload x, as Tree.Set does.
func (v *View) Set(path []string, x any) error {
	t, err := v.Tree()
	if err != nil {
		return err
	}
	v.change()
	if err := t.Set(path, x); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	return nil
}

// drop removes a field of the payload, if it is there.
func (v *View) drop(path []string) error {
	t, err := v.Tree()
	if err != nil {
		return err
	}
	v.change()
	t.Drop(path)
	return nil
}

func (v *View) change() { v.changed, v.encoded, v.encodedErr = true, nil, nil }

// Encoded returns the payload in the route's format, with the changes that were made, and its content type. Without changes and a format it is
// the payload as it came. Nobody may change the result, which stays as it is after Reset. An error is about this message alone, unless it wraps
// format.ErrAway.
func (v *View) Encoded() (payload []byte, contentType string, err error) {
	contentType = v.contentType()
	if !v.changed && v.out() == nil {
		return v.message.Payload, contentType, nil
	}
	if v.encoded == nil && (v.encodedErr == nil || errors.Is(v.encodedErr, format.ErrAway)) { // what was away may be there by now
		v.encoded, v.encodedErr = v.encode()
	}
	return v.encoded, contentType, v.encodedErr
}

func (v *View) encode() ([]byte, error) {
	t, err := v.Tree()
	if err != nil {
		return nil, err
	}
	to := v.out()
	if to == nil {
		to = v.from
	}
	v.scratch, err = to.Encode(v.scratch[:0], t.Root())
	if err != nil {
		return nil, fmt.Errorf("format: %w", err)
	}
	return append(make([]byte, 0, len(v.scratch)), v.scratch...), nil
}

// contentType returns the content type of the payload as it leaves.
func (v *View) contentType() string {
	switch to := v.out(); {
	case to != nil:
		return to.ContentType()
	case v.changed && v.message.ContentType == "":
		return v.from.ContentType()
	}
	return v.message.ContentType
}

// out returns the format in which the payload leaves, or nil if that is the one in which it came.
func (v *View) out() format.Format {
	if v.route == nil {
		return nil
	}
	return v.route.out
}

// payloadFormat returns the format in which the payload came.
func (v *View) payloadFormat() format.Format {
	if v.route != nil && v.route.in != nil {
		return v.route.in
	}
	media, _, _ := strings.Cut(v.message.ContentType, ";")
	media = strings.TrimSpace(media)
	switch {
	case media == "application/xml", media == "text/xml", strings.HasSuffix(media, "+xml"):
		return xmlFormat()
	case media == "application/cbor", strings.HasSuffix(media, "+cbor"):
		return cborFormat()
	}
	return jsonFormat()
}

// The formats that need no configuration.
var (
	jsonFormat = sync.OnceValue(func() format.Format { return openKnown("json") })
	xmlFormat  = sync.OnceValue(func() format.Format { return openKnown("xml") })
	cborFormat = sync.OnceValue(func() format.Format { return openKnown("cbor") })
)

func openKnown(name string) format.Format {
	f, err := format.Open(format.Config{Name: name}, format.Options{})
	if err != nil {
		panic(err) // it has nothing that could be wrong
	}
	return f
}

// topicLevels returns the levels of the topic.
func (v *View) topicLevels() []string {
	if len(v.levels) == 0 {
		for level := range strings.SplitSeq(v.message.Topic, "/") {
			v.levels = append(v.levels, level)
		}
	}
	return v.levels
}
