// Package pump pushes the messages of a stream to a system behind the gateway: it is the consumer of a sink. A Target knows the other
// side's protocol; the pump knows everything else: the sink's place in the stream, the order of messages, batches, retries, and what
// becomes of messages that the other side refuses.
package pump

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/service"
)

// Options are what a target needs beside its own configuration. Each package of a target has
//
//	func Open(c Config, o pump.Options) (pump.Target, error)
//
// which contacts nobody: an error is about the configuration or a file that it names, and begins with the key. Connections are made by the first
// Send that needs them.
type Options struct {
	Name     string          // of the sink
	Stream   string          // whose messages it gets
	Node     uint16          // the number of this node
	Lanes    int             // how many goroutines may call Send at a time
	Services *service.Set    // of this node; may be nil in tests
	Watcher  *reload.Watcher // reads changed files again; it ends with the sink
	Loops    *bridge.Loops   // of this node
	Log      *slog.Logger
}

// Header is one header of a record, where the other side has headers. Names may repeat.
type Header struct{ Name, Value string }

// Record is what a target writes for one message. The pump sets Place, Time and Message, Prepare the rest.
//
// A record and what it refers to belong to the pump until its message is done; Send may keep nothing of it.
type Record struct {
	Place   uint64           // of the message in its stream
	Time    time.Time        // when the stream took it
	Message *message.Message // as it came; nobody changes it

	// Key says whose records keep their order: records with the same key go one behind the other. Before Prepare it is the device that published
	// the message, or its topic if no device did. A target whose key is another one sets it.
	Key         string
	To          string // where on the other side: a topic, a subject, a table
	Value       []byte
	ContentType string
	Headers     []Header
	Values      []any // parameters of an SQL statement
	Retain      bool

	// Confirmed is for Send: it may set it when the other side has confirmed this record, but not one before it. When the record comes again, Send
	// leaves it out. The pump does not look at it.
	Confirmed bool
}

// Target is one system behind the gateway.
type Target interface {
	// Prepare makes the record of a message. It does no I/O, and is called from any goroutine, several at a time; `longline sink test` prints what
	// it makes. v is used again for another message once Prepare has returned, so r may keep what belongs to the message, and what Prepare
	// allocated, but nothing else of v. An error is about this message, which goes to the dead letters, unless it is ErrLeftOut.
	Prepare(v *route.View, r *Record) error

	// Send writes the records in order, and returns when the other side has confirmed them. done is how many of the first are confirmed; err says
	// what became of records[done], and is nil if all are. Those behind it may have been written, or not: they come again.
	//
	// Each lane has one goroutine that calls it, several lanes at a time. Records of one Key always come on one lane, in order, and never
	// before those of the last Send are confirmed. Send ends within a bounded time, also when the other side says nothing: a target has a
	// timeout. ctx ends when the sink closes and the other side has had its time; what is not confirmed then comes again.
	Send(ctx context.Context, records []*Record) (done int, err error)

	// Close ends connections. Nobody calls Send any more.
	Close()
}

// Transactional is a target that keeps the sink's place on the other side, in the transaction that writes the records, so that nothing comes
// twice. It has one lane. Its Send, for replays alone, writes records in a transaction and leaves the place as it is.
type Transactional interface {
	Target

	// Place returns the place before which the other side has all records of this sink; known is false if it has none yet. The pump calls it before
	// anything else, and again after each error of SendUpTo, because then nobody knows whether the transaction was made.
	Place(ctx context.Context) (place uint64, known bool, err error)

	// SendUpTo writes all records and the place in one transaction, or none of them. There may be no records. RefusedAt says which message an
	// error is about.
	SendUpTo(ctx context.Context, records []*Record, place uint64) error
}

// reserved begins the names of what a gateway says of a message.
const reserved = "longline-"

// IsForged reports whether a property of m, by its name, is what only a gateway says of a message, although a device published m. No target passes it
// on: the device could pass for another.
func IsForged(m *message.Message, name string) bool {
	return m.Source != "" && len(name) >= len(reserved) && strings.EqualFold(name[:len(reserved)], reserved)
}

// StandardHeaders appends the headers that every record has whose target has headers; contentType is that of its value.
func StandardHeaders(dst []Header, v *route.View, contentType string) []Header {
	m := v.Message()
	dst = append(dst,
		Header{"longline-place", ID(v)},
		Header{"longline-topic", m.Topic},
		Header{"longline-time", strconv.FormatInt(m.Time, 10)})
	if m.Source != "" {
		dst = append(dst, Header{"longline-source", m.Source})
	}
	if contentType != "" {
		dst = append(dst, Header{"content-type", contentType})
	}
	if m.Trace != nil {
		dst = append(dst, Header{message.Traceparent, m.Trace.String()})
	}
	for _, p := range v.Added() {
		dst = append(dst, Header{p.Key, p.Value})
	}
	return dst
}

// ID returns NODE/STREAM/PLACE, which names a message, and is the same each time it is sent.
func ID(v *route.View) string {
	return strconv.Itoa(int(v.Node)) + "/" + v.Stream + "/" + strconv.FormatUint(v.Place, 10)
}
