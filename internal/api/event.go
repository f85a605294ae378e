package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/longline/longline/internal/message"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// beginEvents sets the headers of a response that is server-sent events.
func beginEvents(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
}

// event is the data of one message.
type event struct {
	Place string `json:"place,omitempty"` // only where it is not shown beside the data
	Topic string `json:"topic"`
	shownPayload
	QoS    message.QoS `json:"qos"`
	Retain bool        `json:"retain,omitempty"`
	Time   int64       `json:"ts"` // Unix milliseconds
	Source string      `json:"source,omitempty"`
	Props  properties  `json:"props,omitempty"`
}

// shownPayload is a payload as JSON shows it.
type shownPayload struct {
	Payload json.RawMessage `json:"payload,omitempty"` // if it is one JSON value
	Text    *string         `json:"text,omitempty"`    // if it is other UTF-8
	Data    *[]byte         `json:"data,omitempty"`    // anything else, in base64
	Type    string          `json:"type,omitempty"`    // content type, absent with payload
}

// eventOf returns what is shown of m.
func eventOf(m *message.Message, most message.QoS) *event {
	e := &event{
		Topic:  m.Topic,
		QoS:    min(most, m.QoS),
		Retain: m.Retain,
		Time:   m.Time,
		Source: m.Source,
		Props:  m.Properties,
	}
	e.show(m.Payload, m.ContentType)
	return e
}

// encodeEvent writes an event as a line of JSON, without the white space of its payload.
func encodeEvent(b *bytes.Buffer, e any) error {
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(e)
}

// show sets the payload. Many MQTT clients name no content type: a payload that is JSON is shown as JSON all the same.
func (e *shownPayload) show(payload []byte, contentType string) {
	switch {
	case (contentType == message.JSON || contentType == "") && len(payload) > 0 && validJSON(payload):
		e.Payload = payload
	case utf8.Valid(payload) && (contentType == "" && len(payload) > 0 || strings.HasPrefix(contentType, "text/")):
		text := string(payload)
		e.Text, e.Type = &text, contentType
	default:
		e.Data, e.Type = &payload, contentType
	}
}

// EntryJSON returns an entry as a line of JSON, in the form of an event's data, with its place.
func EntryJSON(e *longlinev1.Entry) ([]byte, error) {
	m := e.GetMessage()
	shown := event{
		Place:  e.GetPlace(),
		Topic:  m.GetTopic(),
		QoS:    message.QoS(m.GetQos()),
		Retain: m.GetRetain(),
		Time:   m.GetTs().AsTime().UnixMilli(),
		Source: m.GetSource(),
	}
	for _, p := range m.GetProperties() {
		shown.Props = append(shown.Props, message.Property{Key: p.GetKey(), Value: p.GetValue()})
	}
	payload := m.GetPayload()
	if m != nil && m.Text != nil {
		payload = []byte(m.GetText())
	}
	shown.show(payload, m.GetContentType())
	var b bytes.Buffer
	err := encodeEvent(&b, &shown)
	return b.Bytes(), err
}

// properties are encoded as one object, in order; keys may repeat.
type properties []message.Property

// MarshalJSON implements json.Marshaler.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	next := byte('{')
	for _, property := range p {
		key, _ := json.Marshal(property.Key) // a string always marshals
		value, _ := json.Marshal(property.Value)
		b.WriteByte(next)
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
		next = ','
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// eventWriter encodes messages as events.
type eventWriter struct {
	qos  message.QoS // of the subscription
	buf  bytes.Buffer
	away string // nodes whose part of a stream cannot be read, as the client was told
}

// comment writes a comment, which clients ignore; it keeps the connection alive.
func (e *eventWriter) comment(text string) { fmt.Fprintf(&e.buf, ": %s\n\n", text) }

// batch writes one event per message, after an event with the number of dropped messages.
func (e *eventWriter) batch(messages []*message.Message, missed uint64) error {
	e.missed(missed)
	for _, m := range messages {
		if err := e.message(strconv.FormatUint(m.ID, 10), m); err != nil {
			return err
		}
	}
	return nil
}

// idLine begins an event.
func (e *eventWriter) idLine(id string) { e.buf.WriteString("id: " + id + "\n") }

// missed writes an event with a number of messages that the client did not get, unless it is 0.
func (e *eventWriter) missed(n uint64) {
	if n > 0 {
		fmt.Fprintf(&e.buf, "event: missed\ndata: {\"missed\":%d}\n\n", n)
	}
}

// message writes one event.
func (e *eventWriter) message(id string, m *message.Message) error {
	e.idLine(id)
	e.buf.WriteString("event: message\ndata: ")
	if err := encodeEvent(&e.buf, eventOf(m, e.qos)); err != nil {
		return err
	}
	e.buf.WriteByte('\n')
	return nil
}

// send writes the encoded events to the client.
func (e *eventWriter) send(w http.ResponseWriter) error {
	_, err := w.Write(e.buf.Bytes())
	e.buf.Reset()
	if err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
