package wire

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/longline/longline/internal/jsontext"
	"github.com/longline/longline/internal/message"
)

// JSON is the protocol longline.v1.json: one object per text frame. Devices that
// offer no subprotocol use it too.
var JSON Codec = jsonCodec{}

type jsonCodec struct{}

func (jsonCodec) Name() string { return "longline.v1.json" }
func (jsonCodec) Text() bool   { return true }
func (jsonCodec) Acks() bool   { return true }

// Decode changes frame: it decodes escapes and base64 in place.
func (jsonCodec) Decode(p *Packet, frame []byte, text bool) error {
	p.Reset()
	if !text {
		return CloseKind.Because("longline.v1.json uses text frames")
	}
	if !utf8.Valid(frame) {
		return CloseInvalidUTF8.Because(fmt.Sprintf("not UTF-8 at byte %d", jsontext.InvalidAt(frame)))
	}
	d := jsonDecoder{buf: frame}
	if err := d.scan(); err != nil {
		return err
	}
	return d.fill(p)
}

// Append writes a payload that is one JSON value as it is, and any other as base64.
func (jsonCodec) Append(dst []byte, p *Packet) ([]byte, error) {
	if err := p.checkEncodable(); err != nil {
		return dst, err
	}
	form := &forms[p.Op]
	dst = append(dst, `{"op":"`...)
	dst = append(dst, form.name...)
	dst = append(dst, '"')
	for _, f := range jsonOrder[p.Op] {
		dst = appendField(dst, p, f, form.shown.has(f))
	}
	return append(dst, '}'), nil
}

// appendField adds the member of f, unless its value is zero and zero says not to show that.
func appendField(dst []byte, p *Packet, f field, zero bool) []byte {
	switch fields[f].kind {
	case kindText:
		if s := *p.text(f); f != fieldType && (zero || s != "") {
			return jsontext.AppendString(appendName(dst, f), s)
		}
	case kindNumber:
		if n := p.number(f); zero || n != 0 {
			return strconv.AppendUint(appendName(dst, f), n, 10)
		}
	case kindFlag:
		if v := *p.flag(f); zero || v {
			return strconv.AppendBool(appendName(dst, f), v)
		}
	case kindPayload:
		return appendPayload(dst, *p.payload(), *p.text(fieldType))
	case kindProps:
		return appendProps(dst, p.Message.Properties)
	case kindFilters:
		return appendFilters(dst, p.Filters)
	case kindError:
		return appendError(dst, p.Err)
	}
	return dst
}

func appendName(dst []byte, f field) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, fields[f].name...)
	return append(dst, '"', ':')
}

// appendPayload adds payload when b is JSON, otherwise data and type. An empty payload without a
// type needs neither.
func appendPayload(dst, b []byte, contentType string) []byte {
	if contentType == message.JSON {
		if value, ok := jsonValue(b, 1); ok {
			return append(appendName(dst, fieldPayload), value...)
		}
	}
	if len(b) > 0 || contentType != "" {
		dst = append(appendName(dst, fieldData), '"')
		dst = append(base64.StdEncoding.AppendEncode(dst, b), '"')
	}
	if contentType != "" {
		dst = jsontext.AppendString(appendName(dst, fieldType), contentType)
	}
	return dst
}

// jsonValue returns the one JSON value in b, without the white space around it, and
// reports whether it may be in a packet with depth objects and arrays around it.
func jsonValue(b []byte, depth int) (value []byte, ok bool) {
	start := jsontext.SkipSpace(b, 0)
	end, want := jsontext.SkipValue(b, start, depth)
	if want != "" || jsontext.SkipSpace(b, end) < len(b) {
		return nil, false
	}
	value = b[start:end]
	return value, utf8.Valid(value)
}

func appendProps(dst []byte, props []message.Property) []byte {
	if len(props) == 0 {
		return dst
	}
	dst = appendName(dst, fieldProps)
	next := byte('{')
	for _, p := range props {
		dst = jsontext.AppendString(append(dst, next), p.Key)
		dst = jsontext.AppendString(append(dst, ':'), p.Value)
		next = ','
	}
	return append(dst, '}')
}

func appendFilters(dst []byte, filters []string) []byte {
	dst = appendName(dst, fieldFilters)
	next := byte('[')
	for _, f := range filters {
		dst = jsontext.AppendString(append(dst, next), f)
		next = ','
	}
	return append(dst, ']')
}

func appendError(dst []byte, e Error) []byte {
	if e.Code == "" {
		return dst
	}
	dst = append(appendName(dst, fieldError), `{"code":`...)
	dst = jsontext.AppendString(dst, e.Code)
	dst = append(dst, `,"reason":`...)
	return append(jsontext.AppendString(dst, e.Reason), '}')
}
