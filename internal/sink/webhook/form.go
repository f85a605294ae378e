package webhook

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

// form is how messages are in requests. Its methods are safe from any goroutine.
type form interface {
	// prepare fills in a record for v.
	prepare(v *route.View, r *pump.Record) error
	// body returns the body of a request with these records, and sets its own headers.
	body(records []*pump.Record, header http.Header) []byte
	// single reports whether a request has one record.
	single() bool
}

func newForm(c Config) (form, error) {
	t, err := c.templates()
	if err != nil {
		return nil, err
	}
	switch c.Form {
	case CloudEvents:
		return eventBatch{t}, nil
	case CloudEventsBinary:
		return binaryEvent{t}, nil
	}
	return array{}, nil
}

// Prepare implements pump.Target.
func (t *target) Prepare(v *route.View, r *pump.Record) error { return t.form.prepare(v, r) }

// array is a form: an array of objects.
type array struct{}

func (array) prepare(v *route.View, r *pump.Record) (err error) {
	r.ContentType = message.JSON
	r.Value, err = pump.Object(v)
	return err
}

func (array) body(records []*pump.Record, header http.Header) []byte {
	header.Set("Content-Type", message.JSON)
	return join(records)
}

func (array) single() bool { return false }

// eventBatch is a form: CloudEvents 1.0 in JSON, JSON Format §4.
type eventBatch struct{ templates }

// event is a CloudEvent, JSON Format §2 and §3.
type event struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        string          `json:"time"`
	Trace       string          `json:"traceparent,omitempty"` // the extension Distributed Tracing
	ContentType string          `json:"datacontenttype,omitempty"`
	Data        json.RawMessage `json:"data,omitempty"`
	DataBase64  []byte          `json:"data_base64,omitempty"`
}

func (f eventBatch) prepare(v *route.View, r *pump.Record) error {
	payload, kind, err := v.Encoded()
	if err != nil {
		return err
	}
	e, err := f.event(v)
	if err != nil {
		return err
	}
	if e.Data, err = inJSON(payload, kind); err != nil {
		return err
	}
	if e.Data == nil {
		e.DataBase64 = payload
	}
	if e.ContentType = kind; kind == "" && e.Data == nil {
		e.ContentType = octets // left out, it would be taken for JSON
	}
	r.ContentType = "application/cloudevents+json"
	r.Value, err = pump.Marshal(e)
	return err
}

func (eventBatch) body(records []*pump.Record, header http.Header) []byte {
	header.Set("Content-Type", "application/cloudevents-batch+json")
	return join(records)
}

func (eventBatch) single() bool { return false }

// event returns the CloudEvent of a message, without data.
func (t templates) event(v *route.View) (e event, err error) {
	m := v.Message()
	e = event{SpecVersion: "1.0", ID: pump.ID(v), Source: "backend", Time: pump.Stamp(v), Trace: trace(m)}
	if m.Source != "" {
		e.Source = "device/" + m.Source
	}
	if t.ownSource {
		if e.Source, err = t.source.Render(v); err != nil {
			return e, err
		}
	}
	if e.Type, err = t.typ.Render(v); err != nil {
		return e, err
	}
	e.Subject, err = t.subject.Render(v)
	return e, err
}

// binaryEvent is a form: one CloudEvent 1.0 with its attributes in headers, HTTP Protocol Binding §3.1.
type binaryEvent struct{ templates }

func (f binaryEvent) prepare(v *route.View, r *pump.Record) error {
	payload, kind, err := v.Encoded()
	if err != nil {
		return err
	}
	e, err := f.event(v)
	if err != nil {
		return err
	}
	if !httpguts.ValidHeaderFieldValue(kind) || len(kind) > maxAttribute || kind == "" && !pump.IsJSON(payload, "") {
		kind = octets
	} else if kind == "" {
		kind = message.JSON
	}
	r.Value, r.ContentType = payload, kind
	for _, h := range []pump.Header{
		{Name: "Ce-Specversion", Value: e.SpecVersion}, {Name: "Ce-Id", Value: e.ID}, {Name: "Ce-Source", Value: e.Source},
		{Name: "Ce-Type", Value: e.Type}, {Name: "Ce-Subject", Value: e.Subject}, {Name: "Ce-Time", Value: e.Time},
		{Name: "Ce-Traceparent", Value: e.Trace},
	} {
		if h.Value != "" {
			r.Headers = append(r.Headers, pump.Header{Name: h.Name, Value: escape(h.Value)})
		}
	}
	return nil
}

func (binaryEvent) body(records []*pump.Record, header http.Header) []byte {
	r := records[0]
	header.Set("Content-Type", r.ContentType)
	for _, h := range r.Headers {
		header.Set(h.Name, h.Value)
	}
	header.Set(keyHeader, header.Get("Ce-Id"))
	return r.Value
}

func (binaryEvent) single() bool { return true }

// octets is the content type of bytes of no stated type.
const octets = "application/octet-stream"

// join returns the records as an array.
func join(records []*pump.Record) []byte {
	size := 2
	for _, r := range records {
		size += len(r.Value) + 1
	}
	b := append(make([]byte, 0, size), '[')
	for i, r := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, r.Value...)
	}
	return append(b, ']')
}

func trace(m *message.Message) string {
	if m.Trace == nil {
		return ""
	}
	return m.Trace.String()
}

// inJSON returns what a payload is within JSON, JSON Format §3.1: JSON itself, or a string for text. For others it returns nil.
func inJSON(payload []byte, kind string) (json.RawMessage, error) {
	switch {
	case pump.IsJSON(payload, kind):
		return payload, nil
	case isText(kind) && utf8.Valid(payload):
		return pump.Marshal(string(payload))
	}
	return nil, nil
}

func isText(kind string) bool {
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(kind)), "text/")
}

// escape encodes what may not be in a header of CloudEvents, HTTP Protocol Binding §3.1.3.2.
func escape(value string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
