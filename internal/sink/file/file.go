package file

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"mime"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

// target implements pump.Target.
type target struct {
	// Static after construction.
	config Config
	aside  *aside

	// writing is held by the lane that writes, syncing by the one that syncs; it takes writing for a moment.
	syncing sync.Mutex
	writing sync.Mutex

	// Guarded by writing.
	out    output
	closed bool
	buffer []byte
}

// Open opens the target; the file is opened when the first messages come.
func Open(c Config, o pump.Options) (pump.Target, error) {
	c = c.WithDefaults()
	return &target{config: c, aside: newAside(c, o.Log), out: output{config: c}}, nil
}

// line is a message as the file has it with the content message. One of the three payloads is there.
type line struct {
	Place       string             `json:"place"` // NODE/STREAM/PLACE
	Time        string             `json:"time"`
	Topic       string             `json:"topic"`
	Source      string             `json:"source,omitempty"`
	ContentType string             `json:"content_type,omitempty"`
	Properties  []message.Property `json:"properties,omitempty"`
	Traceparent string             `json:"traceparent,omitempty"`
	Payload     json.RawMessage    `json:"payload,omitempty"`
	Text        string             `json:"payload_text,omitempty"`   // of a payload that is not JSON, but is UTF-8
	Base64      []byte             `json:"payload_base64,omitempty"` // of any other
}

// Prepare implements pump.Target.
func (t *target) Prepare(v *route.View, r *pump.Record) (err error) {
	payload, contentType, err := v.Encoded()
	if err != nil {
		return err
	}
	r.ContentType = contentType
	switch t.config.Content {
	case Message:
		r.Value, err = messageLine(v, payload, contentType)
	case Payload:
		r.Value, err = payloadLine(payload)
	default:
		r.Value = append(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(payload)), uint64(len(payload))), payload...)
	}
	return err
}

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func messageLine(v *route.View, payload []byte, contentType string) ([]byte, error) {
	m := v.Message()
	l := line{
		Place: pump.ID(v), Time: v.Time.UTC().Format(timeFormat), Topic: m.Topic, Source: m.Source, ContentType: contentType,
		Properties: slices.Concat(v.Added(), m.Properties),
	}
	if m.Trace != nil {
		l.Traceparent = m.Trace.String()
	}
	switch {
	case isJSON(payload, contentType):
		l.Payload = payload // Encode compacts it
	case utf8.Valid(payload):
		l.Text = string(payload)
	default:
		l.Base64 = payload
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(l)
	return b.Bytes(), err
}

// isJSON reports whether a payload is a JSON value: it may have no content type.
func isJSON(payload []byte, contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	if contentType != "" && media != message.JSON && !strings.HasSuffix(media, "+json") {
		return false
	}
	return json.Valid(payload)
}

// errBreaks refuses a payload that would be more than one line.
var errBreaks = errors.New("content: the payload has line breaks and is not JSON: want content delimited or message")

func payloadLine(payload []byte) ([]byte, error) {
	if !bytes.ContainsAny(payload, "\n\r") {
		return append(append(make([]byte, 0, len(payload)+1), payload...), '\n'), nil
	}
	var b bytes.Buffer
	if json.Compact(&b, payload) != nil {
		return nil, errBreaks
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// Send implements pump.Target. Lanes that write while another one syncs share the next sync.
func (t *target) Send(_ context.Context, records []*pump.Record) (done int, err error) {
	end, err := t.write(records)
	if err == nil {
		err = t.sync(end)
	}
	if err != nil {
		return 0, err
	}
	return len(records), nil
}

// keptBuffer is the largest buffer that is kept.
const keptBuffer = 4 << 20

// write writes records behind those that are there, and returns where they end.
func (t *target) write(records []*pump.Record) (end position, err error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.closed {
		return end, os.ErrClosed
	}
	buffer := t.buffer[:0]
	for _, r := range records {
		buffer = append(buffer, r.Value...)
	}
	if t.buffer = nil; cap(buffer) <= keptBuffer {
		t.buffer = buffer
	}
	fresh, err := t.out.ready(time.Now())
	if fresh {
		t.aside.tidy()
	}
	if err != nil {
		return end, err
	}
	return t.out.append(buffer)
}

// sync returns when the file is on disk up to end.
func (t *target) sync(end position) error {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	t.writing.Lock()
	file, upTo, err := t.out.unsafe(end)
	t.writing.Unlock()
	if file == nil || err != nil {
		return err
	}
	err = file.Sync()
	t.writing.Lock()
	defer t.writing.Unlock()
	return t.out.synced(upTo, err)
}

// Close implements pump.Target.
func (t *target) Close() {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	t.writing.Lock()
	defer t.writing.Unlock()
	t.closed = true
	t.out.close()
	t.aside.close()
}
