package wire

import (
	"encoding/base64"

	"github.com/longline/longline/internal/jsontext"
	"github.com/longline/longline/internal/message"
)

// jsonDecoder decodes one packet. Members come in any order, and their meaning depends on
// op, so scan only finds where they are, and fill then reads the ones that the op has.
type jsonDecoder struct {
	buf    []byte
	values [numFields]span
	seen   set
	twice  set
}

// span is the position of a value: buf[start:end]. Frames are far below 2 GiB.
type span struct{ start, end int32 }

// scan checks the syntax of the frame and finds the members with known names.
func (d *jsonDecoder) scan() error {
	i := jsontext.SkipSpace(d.buf, 0)
	if jsontext.ByteAt(d.buf, i) != '{' {
		return malformed(i, "'{'")
	}
	i = jsontext.SkipSpace(d.buf, i+1)
	more := jsontext.ByteAt(d.buf, i) != '}'
	if !more {
		i++
	}
	for more {
		var want string
		if i, want = d.member(i); want != "" {
			return malformed(i, want)
		}
		if i, more, want = jsontext.SkipComma(d.buf, i, '}'); want != "" {
			return malformed(i, want)
		}
	}
	if i = jsontext.SkipSpace(d.buf, i); i < len(d.buf) {
		return malformed(i, "the end")
	}
	return nil
}

// member skips the member at i and notes where its value is.
func (d *jsonDecoder) member(i int) (end int, want string) {
	if jsontext.ByteAt(d.buf, i) != '"' {
		return i, "a name in quotes"
	}
	nameEnd, want := jsontext.SkipString(d.buf, i)
	if want != "" {
		return nameEnd, want
	}
	start, want := jsontext.SkipColon(d.buf, nameEnd)
	if want != "" {
		return start, want
	}
	if end, want = jsontext.SkipValue(d.buf, start, 1); want != "" {
		return end, want
	}
	name := d.buf[i+1 : nameEnd-1]
	f, ok := fieldNamed(name)
	if !ok { // a name with escapes may be a known one
		f, ok = fieldNamed(jsontext.Unescape(name))
	}
	if ok {
		d.twice |= d.seen & (1 << f)
		d.seen |= 1 << f
		d.values[f] = span{int32(start), int32(end)}
	}
	return end, ""
}

// fill sets the fields of p from the members that scan found. It ignores members that packets of this op do not
// have, like unknown ones.
func (d *jsonDecoder) fill(p *Packet) error {
	if err := d.setOp(p); err != nil {
		return err
	}
	own := d.seen & jsonMembers[p.Op]
	if twice := own & d.twice; twice != 0 {
		f := twice.first()
		return p.breaks("%s a second time at byte %d: want it once", fields[f].name, d.values[f].start)
	}
	if err := d.checkPayload(p, own); err != nil {
		return err
	}
	for ; own != 0; own &= own - 1 {
		if err := d.set(p, own.first()); err != nil {
			return err
		}
	}
	return p.check()
}

func (d *jsonDecoder) setOp(p *Packet) error {
	if !d.seen.has(fieldOp) {
		return p.breaks("op missing")
	}
	if d.twice.has(fieldOp) {
		return p.breaks("op a second time at byte %d: want it once", d.values[fieldOp].start)
	}
	if name, ok := d.text(fieldOp); ok {
		for op := Hello; op.known(); op++ {
			if forms[op].name == name {
				p.Op = op
				return nil
			}
		}
	}
	return d.wants(p, fieldOp)
}

// checkPayload returns an error when the payload is given in two forms.
func (d *jsonDecoder) checkPayload(p *Packet, own set) error {
	payload, data, contentType := own.has(fieldPayload), own.has(fieldData), own.has(fieldType)
	switch {
	case payload && data:
		return p.breaks("data at byte %d: want payload or data, not both", d.values[fieldData].start)
	case contentType && !data:
		return p.breaks("type at byte %d: want it only with data", d.values[fieldType].start)
	}
	return nil
}

// set sets the field f of p.
func (d *jsonDecoder) set(p *Packet, f field) error {
	ok := false
	switch fields[f].kind {
	case kindText:
		*p.text(f), ok = d.text(f)
	case kindNumber:
		var n uint64
		if n, ok = d.integer(f); ok {
			p.setNumber(f, n)
		}
	case kindFlag:
		*p.flag(f), ok = d.flag(f)
	case kindPayload:
		ok = d.setPayload(p, f)
	case kindProps:
		ok = d.setProps(p)
	case kindFilters:
		ok = d.setFilters(p)
	case kindError:
		ok = d.setError(p)
	}
	if !ok {
		return d.wants(p, f)
	}
	return nil
}

// bytes returns the undecoded value of f.
func (d *jsonDecoder) bytes(f field) []byte {
	return d.buf[d.values[f].start:d.values[f].end]
}

// text returns the string in f, unescaped in place; false when the value is no string.
func (d *jsonDecoder) text(f field) (string, bool) { return unquote(d.bytes(f)) }

// unquote returns the string in the value b, unescaped in place; false when b is no
// string.
func unquote(b []byte) (string, bool) {
	if b[0] != '"' {
		return "", false
	}
	return viewString(jsontext.Unescape(b[1 : len(b)-1])), true
}

func (d *jsonDecoder) wants(p *Packet, f field) error {
	return p.wants(f, string(d.bytes(f)), int(d.values[f].start))
}

// integer returns the value of f if it is plain digits in the field's range.
func (d *jsonDecoder) integer(f field) (n uint64, ok bool) {
	b := d.bytes(f)
	if len(b) > len("9007199254740991") {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n <= fields[f].max && (n > 0 || f != fieldID)
}

func (d *jsonDecoder) flag(f field) (value, ok bool) {
	c := d.bytes(f)[0]
	return c == 't', c == 't' || c == 'f'
}

func (d *jsonDecoder) setPayload(p *Packet, f field) bool {
	if f == fieldPayload {
		*p.payload(), *p.text(fieldType) = d.bytes(f), message.JSON
		return true
	}
	s, ok := d.text(f)
	if !ok {
		return false
	}
	// In place: Decode reads 4 or 8 characters before it writes the 3 or 6 bytes that they encode.
	b := viewBytes(s)
	n, err := strictBase64.Decode(b, b)
	*p.payload() = b[:n:n]
	return err == nil
}

var strictBase64 = base64.StdEncoding.Strict()

func (d *jsonDecoder) setProps(p *Packet) bool {
	l, ok := d.list(fieldProps, '}')
	for ok && l.more() {
		var prop message.Property
		prop.Key = l.name()
		prop.Value, ok = l.next()
		p.Message.Properties = append(p.Message.Properties, prop)
	}
	return ok
}

func (d *jsonDecoder) setFilters(p *Packet) bool {
	l, ok := d.list(fieldFilters, ']')
	for ok && l.more() {
		var filter string
		filter, ok = l.next()
		p.Filters = append(p.Filters, filter)
	}
	return ok
}

func (d *jsonDecoder) setError(p *Packet) bool {
	l, ok := d.list(fieldError, '}')
	for ok && l.more() {
		switch l.name() {
		case "code":
			ok = l.nextInto(&p.Err.Code)
		case "reason":
			ok = l.nextInto(&p.Err.Reason)
		default:
			l.next()
		}
	}
	return ok && p.Err.Code != ""
}

// list iterates over the elements of an object or array that scan has checked.
type list struct {
	buf  []byte
	at   int
	last byte
}

// list returns the elements of f; false when f is no object or array that ends with last.
func (d *jsonDecoder) list(f field, last byte) (list, bool) {
	b := d.bytes(f)
	return list{b, jsontext.SkipSpace(b, 1), last}, b[len(b)-1] == last
}

func (l *list) more() bool { return l.at < len(l.buf)-1 }

// name skips the name of a member and returns it.
func (l *list) name() string {
	end, _ := jsontext.SkipString(l.buf, l.at)
	name, _ := unquote(l.buf[l.at:end])
	l.at, _ = jsontext.SkipColon(l.buf, end)
	return name
}

// next skips a value and returns it if it is a string.
func (l *list) next() (string, bool) {
	end, _ := jsontext.SkipValue(l.buf, l.at, 1)
	value := l.buf[l.at:end]
	l.at, _, _ = jsontext.SkipComma(l.buf, end, l.last)
	return unquote(value)
}

// nextInto sets s, which must be empty, to the next value, which must be a string.
func (l *list) nextInto(s *string) (ok bool) {
	if *s != "" {
		return false
	}
	*s, ok = l.next()
	return ok
}
