package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// Limits that are not configurable; gateway.proto names them.
const (
	maxContentType = 128 // bytes
	maxMethod      = 128 // bytes
	maxProperties  = 32
	maxPropertySum = 4096 // bytes of keys and values
	maxExpiry      = 8760 * time.Hour
	maxReason      = 123 // bytes, RFC 6455 §5.5
)

// plainText is the content type of text that is not JSON.
const plainText = "text/plain"

// published returns the message that a backend asks to publish, in a request with these headers. It shares the
// request's memory, which nobody changes.
func (c *Config) published(m *longlinev1.Message, h http.Header) (*message.Message, error) {
	if m == nil {
		return nil, invalid("message", "is missing")
	}
	if err := topic.ValidateName(m.Topic, c.Topics); err != nil {
		return nil, misnamed("message.topic", err)
	}
	if m.Topic[0] == '$' {
		return nil, invalid("message.topic", "starts with $: these topics are reserved for the gateway")
	}
	qos, err := validQoS("message.qos", m.Qos)
	if err != nil {
		return nil, err
	}
	payload, contentType, err := c.content("message.", m.Payload, m.Text, m.ContentType)
	if err != nil {
		return nil, err
	}
	properties, err := validProperties(m.Properties)
	if err != nil {
		return nil, err
	}
	expiry, err := validDuration("message.expiry", m.Expiry, maxExpiry)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	out := &message.Message{
		Topic:       m.Topic,
		Payload:     payload,
		ContentType: contentType,
		Properties:  properties,
		Time:        now.UnixMilli(),
		QoS:         qos,
		Retain:      m.Retain,
		Origin:      message.Origin{Via: message.ViaAPI},
		Trace:       message.TraceOf(properties),
	}
	if out.Trace == nil {
		out.Trace, _ = message.ParseTraceparent(h.Get(message.Traceparent)) // an ill-formed one is ignored
	}
	if expiry > 0 {
		out.Expiry = now.Add(expiry).UnixMilli()
	}
	return out, nil
}

// content returns the payload, which is given as bytes or as text, and its type. prefix precedes
// the names of the fields in errors.
func (c *Config) content(prefix string, payload []byte, text *string, contentType string) ([]byte, string, error) {
	field := prefix + "payload"
	if text != nil {
		if len(payload) > 0 {
			return nil, "", invalid(prefix+"text", "excludes payload")
		}
		field, payload = prefix+"text", []byte(*text)
	}
	if len(payload) > c.MaxPayload {
		return nil, "", invalid(field, "is %d bytes long: the limit is %d", len(payload), c.MaxPayload)
	}
	if len(contentType) > maxContentType {
		return nil, "", invalid(prefix+"content_type", "is %d bytes long: the limit is %d", len(contentType), maxContentType)
	}
	isJSON := (contentType == message.JSON || contentType == "" && text != nil) && validJSON(payload)
	switch {
	case isJSON:
		return payload, message.JSON, nil
	case contentType == message.JSON && len(payload) > 0:
		return nil, "", invalid(field, "is not one JSON value, as content type %s requires", message.JSON)
	case contentType == "" && text != nil && len(payload) > 0:
		return payload, plainText, nil
	}
	return payload, contentType, nil
}

func validJSON(b []byte) bool { return json.Valid(b) && utf8.Valid(b) }

func validQoS(field string, qos uint32) (message.QoS, error) {
	if qos > uint32(message.AtLeastOnce) {
		return 0, invalid(field, "is %d: want 0 or 1", qos)
	}
	return message.QoS(qos), nil
}

func validProperties(list []*longlinev1.Property) ([]message.Property, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > maxProperties {
		return nil, invalid("message.properties", "are %d: the limit is %d", len(list), maxProperties)
	}
	properties := make([]message.Property, len(list))
	sum := 0
	for i, p := range list {
		properties[i] = message.Property{Key: p.GetKey(), Value: p.GetValue()}
		sum += len(p.GetKey()) + len(p.GetValue())
	}
	if sum > maxPropertySum {
		return nil, invalid("message.properties", "take %d bytes: the limit is %d", sum, maxPropertySum)
	}
	return properties, nil
}

// validDuration returns zero when d is absent.
func validDuration(field string, d *durationpb.Duration, limit time.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, invalid(field, "is not a duration")
	}
	if v := d.AsDuration(); v < time.Millisecond || v > limit {
		return 0, invalid(field, "is %v: want 1ms to %v", v, limit)
	}
	return d.AsDuration(), nil
}

// content returns a payload as the fields of a response: as text if that is requested
// and it is UTF-8, otherwise as bytes.
func content(b []byte, asText bool) (payload []byte, text *string) {
	if asText && utf8.Valid(b) {
		s := string(b)
		return nil, &s
	}
	return b, nil
}

func validDevice(field, id string) error {
	err := topic.ValidateDevice(id)
	if err == nil {
		return nil
	}
	if is, e := topic.DeviceID(id); e == nil {
		return invalid(field, "has a character other than A-Z a-z 0-9 . _ : - ; the id of a device with this name is %s", is)
	}
	return misnamed(field, err)
}

// validMethod checks the method of a call, which is one level of a topic for MQTT devices.
func validMethod(method string) error {
	if method == "" {
		return invalid("method", "is empty")
	}
	if strings.ContainsAny(method, "/+#") || strings.ContainsFunc(method, unicode.IsControl) || !utf8.ValidString(method) {
		return invalid("method", "has a /, +, # or control character: want one level of a topic")
	}
	return validText("method", method, maxMethod)
}

// validText checks a text of at most limit bytes.
func validText(field, s string, limit int) error {
	if len(s) > limit {
		return invalid(field, "is %d bytes long: the limit is %d", len(s), limit)
	}
	if strings.ContainsRune(s, 0) {
		return invalid(field, "has a NUL character")
	}
	return nil
}
