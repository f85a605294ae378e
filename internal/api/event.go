package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/longline/longline/internal/message"
)

// event is the data of one message.
type event struct {
	Topic   string          `json:"topic"`
	Payload json.RawMessage `json:"payload,omitempty"` // if it is one JSON value
	Text    *string         `json:"text,omitempty"`    // if it is other UTF-8
	Data    *[]byte         `json:"data,omitempty"`    // anything else, in base64
	Type    string          `json:"type,omitempty"`    // content type, absent with payload
	QoS     message.QoS     `json:"qos"`
	Retain  bool            `json:"retain,omitempty"`
	Time    int64           `json:"ts"` // Unix milliseconds
	Source  string          `json:"source,omitempty"`
	Props   properties      `json:"props,omitempty"`
}

// show sets the payload. Many MQTT clients name no content type: a payload that is JSON is shown as JSON all the same.
func (e *event) show(m *message.Message) {
	switch {
	case (m.ContentType == message.JSON || m.ContentType == "") && len(m.Payload) > 0 && validJSON(m.Payload):
		e.Payload = m.Payload
	case utf8.Valid(m.Payload) && (m.ContentType == "" && len(m.Payload) > 0 || strings.HasPrefix(m.ContentType, "text/")):
		text := string(m.Payload)
		e.Text, e.Type = &text, m.ContentType
	default:
		e.Data, e.Type = &m.Payload, m.ContentType
	}
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
	qos message.QoS // of the subscription
	buf bytes.Buffer
}

// comment writes a comment, which clients ignore; it keeps the connection alive.
func (e *eventWriter) comment(text string) { fmt.Fprintf(&e.buf, ": %s\n\n", text) }

// batch writes one event per message, after an event with the number of dropped messages.
func (e *eventWriter) batch(messages []*message.Message, missed uint64) error {
	if missed > 0 {
		fmt.Fprintf(&e.buf, "event: missed\ndata: {\"missed\":%d}\n\n", missed)
	}
	for _, m := range messages {
		if err := e.message(m); err != nil {
			return err
		}
	}
	return nil
}

func (e *eventWriter) message(m *message.Message) error {
	data := event{
		Topic:  m.Topic,
		QoS:    min(e.qos, m.QoS),
		Retain: m.Retain,
		Time:   m.Time,
		Source: m.Source,
		Props:  m.Properties,
	}
	data.show(m)
	fmt.Fprintf(&e.buf, "id: %d\nevent: message\ndata: ", m.ID)
	encoder := json.NewEncoder(&e.buf) // one line: it leaves out white space of the payload
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(&data); err != nil {
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
