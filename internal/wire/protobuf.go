package wire

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/message"
)

// Protobuf is the protocol longline.v1.protobuf: one Packet of proto/longline/v1 per binary
// frame.
//
// It is stricter than proto3: a field that is not repeated may come only once, with the
// wire type of the schema, and numbers out of range are refused. Unknown
// fields are skipped.
var Protobuf Codec = protobufCodec{}

type protobufCodec struct{}

func (protobufCodec) Name() string { return "longline.v1.protobuf" }
func (protobufCodec) Text() bool   { return false }
func (protobufCodec) Acks() bool   { return true }

func (protobufCodec) Decode(p *Packet, frame []byte, text bool) error {
	p.Reset()
	if text {
		return CloseKind.Because("longline.v1.protobuf uses binary frames")
	}
	outer := protoReader{buf: frame, end: len(frame)}
	for outer.more() {
		if err := outer.next(); err != nil {
			return err
		}
		op := Op(min(outer.Num, 255))
		if !op.known() {
			continue
		}
		if p.Op != 0 {
			return p.breaks("%s at byte %d is a second packet: want one", op, outer.tag)
		}
		p.Op = op
		if outer.Type != protowire.BytesType {
			return p.breaks("wire type %d at byte %d: want a message", outer.Type, outer.tag)
		}
		if err := p.setBody(outer.body()); err != nil {
			return err
		}
	}
	return p.check()
}

// setBody sets the fields of p from the message of its op.
func (p *Packet) setBody(r protoReader) error {
	var seen set
	for r.more() {
		if err := r.next(); err != nil {
			return err
		}
		if r.Num > protowire.Number(len(forms[p.Op].fields)) {
			continue
		}
		f := forms[p.Op].fields[r.Num-1]
		if seen.has(f) && !repeated(f) {
			return p.breaks("%s a second time at byte %d: want it once", fields[f].name, r.tag)
		}
		seen |= 1 << f
		if err := p.setProto(f, &r); err != nil {
			return err
		}
	}
	return nil
}

func repeated(f field) bool { return f == fieldProps || f == fieldFilters }

// setProto sets the field f of p, or extends it if it is repeated.
func (p *Packet) setProto(f field, r *protoReader) error {
	if r.Type != wireType(f) {
		return p.breaks("%s at byte %d has wire type %d: want %d", fields[f].name, r.tag, r.Type, wireType(f))
	}
	switch fields[f].kind {
	case kindText:
		return p.setText(f, p.text(f), r)
	case kindNumber:
		if r.Number > fields[f].max {
			return p.wants(f, fmt.Sprint(r.Number), r.tag)
		}
		p.setNumber(f, r.Number)
	case kindFlag:
		*p.flag(f) = r.Number != 0
	case kindPayload:
		*p.payload() = r.Bytes
	case kindFilters:
		p.Filters = append(p.Filters, "")
		return p.setText(f, &p.Filters[len(p.Filters)-1], r)
	case kindProps:
		p.Message.Properties = append(p.Message.Properties, message.Property{})
		prop := &p.Message.Properties[len(p.Message.Properties)-1]
		return p.setPair(f, &prop.Key, &prop.Value, r.body())
	case kindError:
		if err := p.setPair(f, &p.Err.Code, &p.Err.Reason, r.body()); err != nil {
			return err
		}
		if p.Err.Code == "" {
			return p.wants(f, "{}", r.tag)
		}
	}
	return nil
}

func wireType(f field) protowire.Type {
	switch fields[f].kind {
	case kindNumber, kindFlag:
		return protowire.VarintType
	default:
		return protowire.BytesType
	}
}

// setPair sets the two strings, fields 1 and 2, of f or of an element of f, which is a
// Property or Error.
func (p *Packet) setPair(f field, first, second *string, r protoReader) error {
	for r.more() {
		if err := r.next(); err != nil {
			return err
		}
		s := first
		switch r.Num {
		case 1:
		case 2:
			s = second
		default:
			continue
		}
		if r.Type != protowire.BytesType || *s != "" {
			return p.breaks("%s at byte %d: want two strings", fields[f].name, r.tag)
		}
		if err := p.setText(f, s, &r); err != nil {
			return err
		}
	}
	return nil
}

func (p *Packet) setText(f field, s *string, r *protoReader) error {
	if !utf8.Valid(r.Bytes) {
		return CloseInvalidUTF8.Because(fmt.Sprintf("%s: %s at byte %d: want UTF-8", p.Op, fields[f].name, r.tag))
	}
	*s = viewString(r.Bytes)
	return nil
}
