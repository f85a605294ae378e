package wire

import (
	"encoding/base64"

	"github.com/longline/longline/internal/message"
)

// jsonDecoder decodes one packet. Because members come in any order, and op tells what
// they mean, scan only finds where they are and fill takes those that the op has.
type jsonDecoder struct {
	scanner
	values [numFields]span
	seen   set
	twice  set
}

// scan checks the grammar of the frame and finds the members with known names.
func (d *jsonDecoder) scan() error {
	d.space()
	if d.peek() != '{' {
		return d.fail("'{'")
	}
	d.at++
	d.space()
	if d.peek() == '}' {
		d.at++
		return d.end()
	}
	for {
		if err := d.member(); err != nil {
			return err
		}
		if more, err := d.comma('}'); err != nil {
			return err
		} else if !more {
			return d.end()
		}
	}
}

func (d *jsonDecoder) member() error {
	name, err := d.name()
	if err != nil {
		return err
	}
	start := d.at
	if err := d.value(1); err != nil {
		return err
	}
	if f, ok := fieldNamed(unescape(name)); ok {
		d.twice |= d.seen & setOf(f)
		d.seen |= setOf(f)
		d.values[f] = span{int32(start), int32(d.at)}
	}
	return nil
}

// fill sets the fields of p from the members found. Members that packets of its op do not
// have are ignored, as unknown ones are.
func (d *jsonDecoder) fill(p *Packet) error {
	if err := d.setOp(p); err != nil {
		return err
	}
	own := d.seen & forms[p.Op].members()
	if twice := own & d.twice; twice != 0 {
		f := twice.first()
		return p.breaks("%s again at byte %d: want it once", fields[f].name, d.values[f].start)
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
		return p.breaks("op again at byte %d: want it once", d.values[fieldOp].start)
	}
	if name, ok := d.text(d.values[fieldOp]); ok {
		for op := Hello; op.known(); op++ {
			if forms[op].name == name {
				p.Op = op
				return nil
			}
		}
	}
	return d.wants(p, fieldOp)
}

// checkPayload makes sure that the payload comes in one form.
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
		*p.text(f), ok = d.text(d.values[f])
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

func (d *jsonDecoder) wants(p *Packet, f field) error {
	v := d.values[f]
	return p.wants(f, string(d.bytes(v)), int(v.start))
}

// integer returns the value of f, plain digits in the range of the field.
func (d *jsonDecoder) integer(f field) (n uint64, ok bool) {
	b := d.bytes(d.values[f])
	if len(b) > len("9007199254740991") {
		return 0, false
	}
	for _, c := range b {
		if !digit(c) {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n <= fields[f].max && (n > 0 || f != fieldID)
}

func (d *jsonDecoder) flag(f field) (value, ok bool) {
	c := d.buf[d.values[f].start]
	return c == 't', c == 't' || c == 'f'
}

func (d *jsonDecoder) setPayload(p *Packet, f field) bool {
	v := d.values[f]
	if f == fieldPayload {
		*p.payload(), *p.text(fieldType) = d.bytes(v), message.JSON
		return true
	}
	s, ok := d.text(v)
	if !ok {
		return false
	}
	// Decode reads ahead of what it writes: 8 bytes are in a register before 6 of them
	// are stored.
	b := viewBytes(s)
	n, err := strictBase64.Decode(b, b)
	*p.payload() = b[:n:n]
	return err == nil
}

var strictBase64 = base64.StdEncoding.Strict()

func (d *jsonDecoder) setProps(p *Packet) bool {
	l, ok := d.list(fieldProps, '{')
	for ok && l.more('}') {
		var prop message.Property
		prop.Key = l.name()
		prop.Value, ok = l.next()
		p.Message.Properties = append(p.Message.Properties, prop)
	}
	return ok
}

func (d *jsonDecoder) setFilters(p *Packet) bool {
	l, ok := d.list(fieldFilters, '[')
	for ok && l.more(']') {
		var filter string
		filter, ok = l.next()
		p.Filters = append(p.Filters, filter)
	}
	return ok
}

func (d *jsonDecoder) setError(p *Packet) bool {
	l, ok := d.list(fieldError, '{')
	for ok && l.more('}') {
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

// list walks over the elements of an object or array that has been checked.
type list struct{ scanner }

// list returns the elements of f; false when f does not open so.
func (d *jsonDecoder) list(f field, open byte) (list, bool) {
	v := d.values[f]
	return list{scanner{buf: d.buf, at: int(v.start) + 1}}, d.buf[v.start] == open
}

// more skips to the next element; false at the end.
func (l *list) more(end byte) bool {
	l.space()
	if l.peek() == ',' {
		l.at++
		l.space()
	}
	return l.peek() != end
}

// name skips the name of a member and returns it.
func (l *list) name() string {
	name, _ := l.scanner.name()
	return viewString(unescape(name))
}

// next skips a value and returns it when it is a string.
func (l *list) next() (string, bool) {
	start := l.at
	_ = l.value(1) // checked before
	return l.text(span{int32(start), int32(l.at)})
}

// nextInto sets s, which must be empty, to the next value, which must be a string.
func (l *list) nextInto(s *string) (ok bool) {
	if *s != "" {
		return false
	}
	*s, ok = l.next()
	return ok
}
