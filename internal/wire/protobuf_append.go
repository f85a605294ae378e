package wire

import "google.golang.org/protobuf/encoding/protowire"

func (protobufCodec) Append(dst []byte, p *Packet) ([]byte, error) {
	if err := p.checkEncodable(); err != nil {
		return dst, err
	}
	dst = protowire.AppendTag(dst, protowire.Number(p.Op), protowire.BytesType)
	start := len(dst)
	for i, f := range forms[p.Op].fields {
		dst = appendProto(dst, p, f, protowire.Number(i+1))
	}
	return insertLength(dst, start), nil
}

// appendProto appends the field f with the number num, unless it is zero.
func appendProto(dst []byte, p *Packet, f field, num protowire.Number) []byte {
	switch fields[f].kind {
	case kindText:
		return appendText(dst, num, *p.text(f))
	case kindNumber:
		return appendVarint(dst, num, p.number(f))
	case kindFlag:
		return appendVarint(dst, num, protowire.EncodeBool(*p.flag(f)))
	case kindPayload:
		return appendText(dst, num, viewString(*p.payload()))
	case kindFilters:
		for _, filter := range p.Filters {
			dst = protowire.AppendTag(dst, num, protowire.BytesType)
			dst = protowire.AppendString(dst, filter)
		}
	case kindProps:
		for _, prop := range p.Message.Properties {
			dst = appendPair(dst, num, prop.Key, prop.Value)
		}
	case kindError:
		if p.Err.Code != "" {
			return appendPair(dst, num, p.Err.Code, p.Err.Reason)
		}
	}
	return dst
}

// appendPair appends a Property or Error.
func appendPair(dst []byte, num protowire.Number, first, second string) []byte {
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	start := len(dst)
	dst = appendText(dst, 1, first)
	dst = appendText(dst, 2, second)
	return insertLength(dst, start)
}

func appendText(dst []byte, num protowire.Number, s string) []byte {
	if s == "" {
		return dst
	}
	return protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), s)
}

func appendVarint(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

// insertLength inserts the length of dst[start:] in front of it.
func insertLength(dst []byte, start int) []byte {
	n := len(dst) - start
	dst = append(dst, make([]byte, protowire.SizeVarint(uint64(n)))...)
	body := dst[len(dst)-n:]
	copy(body, dst[start:start+n])
	protowire.AppendVarint(dst[:start], uint64(n))
	return dst
}
