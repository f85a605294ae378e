package pump

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/longline/longline/internal/jsontext"
	"github.com/longline/longline/internal/route"
)

// object is a message as an object of JSON. It has one of the three payloads, or none if that is empty.
type object struct {
	Place       string          `json:"place"` // NODE/STREAM/PLACE
	Time        string          `json:"time"`
	Topic       string          `json:"topic"`
	Source      string          `json:"source,omitempty"`
	ContentType string          `json:"content_type,omitempty"`
	Properties  []property      `json:"properties,omitempty"`
	Traceparent string          `json:"traceparent,omitempty"`
	Payload     json.RawMessage `json:"payload,omitempty"`
	Text        string          `json:"payload_text,omitempty"`   // of a payload that is not JSON, but is UTF-8
	Base64      []byte          `json:"payload_base64,omitempty"` // of any other
}

type property struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// Stamp returns the time of a message as text.
func Stamp(v *route.View) string { return v.Time.UTC().Format(timeFormat) }

// Object returns a message as an object of JSON, in one line.
func Object(v *route.View) ([]byte, error) {
	payload, contentType, err := v.Encoded()
	if err != nil {
		return nil, err
	}
	m := v.Message()
	o := object{Place: ID(v), Time: Stamp(v), Topic: m.Topic, Source: m.Source, ContentType: contentType}
	for _, p := range slices.Concat(v.Added(), m.Properties) {
		o.Properties = append(o.Properties, property{p.Key, p.Value})
	}
	if m.Trace != nil {
		o.Traceparent = m.Trace.String()
	}
	switch {
	case IsJSON(payload, contentType):
		o.Payload = payload // Marshal compacts it
	case utf8.Valid(payload):
		o.Text = string(payload)
	default:
		o.Base64 = payload
	}
	return Marshal(o)
}

// Marshal returns x as JSON, with < and > as they are.
func Marshal(x any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(x)
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), err
}

// IsJSON reports whether a payload may stand as a value within other JSON: it has no other content type, and is valid. Package jsontext is strict, and so are
// some readers, who read nothing of a batch with one value that they do not like: one nested too deep, or half of a surrogate pair.
func IsJSON(payload []byte, contentType string) bool {
	if !isJSONType(contentType) || !utf8.Valid(payload) {
		return false
	}
	end, want := jsontext.SkipValue(payload, jsontext.SkipSpace(payload, 0), 0)
	return want == "" && jsontext.SkipSpace(payload, end) == len(payload)
}

// isJSONType reports whether a content type is one of JSON, or none.
func isJSONType(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	_, sub, _ := strings.Cut(media, "/")
	return media == "" || sub == "json" || strings.HasSuffix(sub, "+json")
}
