package format

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/longline/longline/internal/jsontext"
)

// jsonFormat is JSON, RFC 8259.
type jsonFormat struct{}

func (jsonFormat) ContentType() string { return "application/json" }

func (jsonFormat) Decode(t *Tree, data []byte) error {
	root := t.begin()
	d := jsonDecoder{t, data}
	err := d.document(root)
	if err != nil {
		t.Reset()
	}
	return err
}

// jsonDecoder decodes one payload. Its methods take the offset at which something starts, and return the offset behind it.
type jsonDecoder struct {
	tree *Tree
	data []byte
}

func (d *jsonDecoder) document(root int32) error {
	if !utf8.Valid(d.data) {
		return fmt.Errorf("JSON at byte %d: %w", jsontext.InvalidAt(d.data), errUTF8)
	}
	at, err := d.value(jsontext.SkipSpace(d.data, 0), root)
	if err != nil {
		return err
	}
	if at = jsontext.SkipSpace(d.data, at); at < len(d.data) {
		return malformedJSON(at, "the end")
	}
	return nil
}

func malformedJSON(at int, want string) error {
	return fmt.Errorf("JSON at byte %d: want %s", at, want)
}

// value makes the null node i the value at a place.
func (d *jsonDecoder) value(at int, i int32) (end int, err error) {
	want := ""
	n := &d.tree.nodes[i]
	switch c := jsontext.ByteAt(d.data, at); c {
	case '"':
		n.kind = Text
		n.text, end, err = d.text(at)
		return end, err
	case '{':
		n.kind = Map
		return d.members(at, i)
	case '[':
		n.kind = List
		return d.elements(at, i)
	case 't':
		n.setBool(true)
		end, want = jsontext.SkipLiteral(d.data, at, "true")
	case 'f':
		n.setBool(false)
		end, want = jsontext.SkipLiteral(d.data, at, "false")
	case 'n':
		end, want = jsontext.SkipLiteral(d.data, at, "null")
	default:
		if c != '-' && (c < '0' || c > '9') {
			return at, malformedJSON(at, "a value")
		}
		if end, want = jsontext.SkipNumber(d.data, at); want == "" {
			return end, n.setNumber(view(d.data[at:end]))
		}
	}
	if want != "" {
		return end, malformedJSON(end, want)
	}
	return end, nil
}

// text returns the string at a place: a view of the data, or of the tree's text if it has escapes.
func (d *jsonDecoder) text(at int) (text string, end int, err error) {
	if plain := jsontext.SkipPlain(d.data, at+1); jsontext.ByteAt(d.data, plain) == '"' {
		return view(d.data[at+1 : plain]), plain + 1, nil
	}
	end, want := jsontext.SkipString(d.data, at)
	if want != "" {
		return "", end, malformedJSON(end, want)
	}
	t := d.tree
	from := len(t.text)
	t.text = append(t.text, d.data[at+1:end-1]...)
	t.text = t.text[:from+len(jsontext.Unescape(t.text[from:]))]
	return view(t.text[from:]), end, nil
}

// members decodes an object.
func (d *jsonDecoder) members(at int, object int32) (end int, err error) {
	at = jsontext.SkipSpace(d.data, at+1)
	if jsontext.ByteAt(d.data, at) == '}' {
		return at + 1, nil
	}
	for more := true; more; {
		if at, more, err = d.member(at, object); err != nil {
			return at, err
		}
	}
	return at, d.tree.onlyOnce(object)
}

func (d *jsonDecoder) member(at int, object int32) (end int, more bool, err error) {
	if jsontext.ByteAt(d.data, at) != '"' {
		return at, false, malformedJSON(at, "a name in quotes")
	}
	name, at, err := d.text(at)
	if err != nil {
		return at, false, err
	}
	at, want := jsontext.SkipColon(d.data, at)
	if want != "" {
		return at, false, inField(name, malformedJSON(at, want))
	}
	i, err := d.tree.add(object, name)
	if err == nil {
		at, err = d.value(at, i)
	}
	if err != nil {
		return at, false, inField(name, err)
	}
	if at, more, want = jsontext.SkipComma(d.data, at, '}'); want != "" {
		return at, false, malformedJSON(at, want)
	}
	return at, more, nil
}

// elements decodes an array.
func (d *jsonDecoder) elements(at int, array int32) (end int, err error) {
	at = jsontext.SkipSpace(d.data, at+1)
	if jsontext.ByteAt(d.data, at) == ']' {
		return at + 1, nil
	}
	more := true
	for number := 0; more; number++ {
		i, err := d.tree.add(array, "")
		if err == nil {
			at, err = d.value(at, i)
		}
		if err != nil {
			return at, inElement(number, err)
		}
		want := ""
		if at, more, want = jsontext.SkipComma(d.data, at, ']'); want != "" {
			return at, malformedJSON(at, want)
		}
	}
	return at, nil
}

var errRange = errors.New("the number is out of range")

// setNumber makes n the JSON number s: an integer, if s has neither a fraction nor an exponent and fits 64 bits.
func (n *node) setNumber(s string) error {
	if n.setInteger(s) {
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return errRange
	}
	n.setFloat(f)
	return nil
}

// setInteger is setNumber for what is an Int or a Uint, and reports whether s is. -0 is a Float.
func (n *node) setInteger(s string) bool {
	digits := s
	if s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) > len("18446744073709551615") {
		return false
	}
	var u uint64
	for i := range len(digits) {
		c := uint64(digits[i] - '0')
		if c > 9 || u > (math.MaxUint64-c)/10 {
			return false
		}
		u = u*10 + c
	}
	switch {
	case len(digits) == len(s):
		n.setUint(u)
	case u == 0 || u > 1<<63:
		return false
	default:
		n.setInt(-int64(u))
	}
	return true
}

func (jsonFormat) Encode(dst []byte, v Value) ([]byte, error) {
	out, err := appendJSON(dst, v, len(dst))
	if err != nil {
		return dst, err
	}
	return out, nil
}

// appendJSON appends v. The result began at start.
func appendJSON(dst []byte, v Value, start int) ([]byte, error) {
	n := v.node()
	switch n.kind {
	case Null:
		return append(dst, "null"...), nil
	case List:
		return appendArray(dst, v, start)
	case Map:
		return appendObject(dst, v, start)
	case Text:
		dst = jsontext.AppendString(dst, n.text)
	case Bytes:
		dst = append(dst, '"')
		dst = append(base64.StdEncoding.AppendEncode(dst, v.Bytes()), '"')
	case Float:
		if f := math.Float64frombits(n.number); f-f != 0 {
			dst = append(append(append(dst, '"'), notFinite(f)...), '"')
		} else {
			dst = appendFloat(dst, n)
		}
	default:
		dst = appendScalar(dst, v)
	}
	if len(dst)-start > maxOutput {
		return dst, errOutput
	}
	return dst, nil
}

func appendArray(dst []byte, v Value, start int) (_ []byte, err error) {
	dst = append(dst, '[')
	i := 0
	for e := range v.Elements() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = appendJSON(dst, e, start); err != nil {
			return dst, inElement(i, err)
		}
		i++
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, v Value, start int) (_ []byte, err error) {
	dst = append(dst, '{')
	first := true
	for name, e := range v.Fields() {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(jsontext.AppendString(dst, name), ':')
		if dst, err = appendJSON(dst, e, start); err != nil {
			return dst, inField(name, err)
		}
	}
	return append(dst, '}'), nil
}

// appendScalar appends a Bool or a number as text. Numbers are as in JSON, if they are finite.
func appendScalar(dst []byte, v Value) []byte {
	switch n := v.node(); n.kind {
	case Bool:
		return strconv.AppendBool(dst, n.number != 0)
	case Int:
		return strconv.AppendInt(dst, int64(n.number), 10)
	case Uint:
		return strconv.AppendUint(dst, n.number, 10)
	case Float:
		if f := math.Float64frombits(n.number); f-f != 0 {
			return append(dst, notFinite(f)...)
		}
		return appendFloat(dst, n)
	}
	return dst
}

// notFinite returns the name of a number that JSON does not have, as protobuf's JSON mapping has it.
func notFinite(f float64) string {
	switch {
	case f > 0:
		return "Infinity"
	case f < 0:
		return "-Infinity"
	}
	return "NaN"
}

// appendFloat appends a finite Float with the fewest digits that read as the same number, in the form that ECMAScript has.
func appendFloat(dst []byte, n *node) []byte {
	f, bits := math.Float64frombits(n.number), 64
	if n.single {
		bits = 32
	}
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// viewBytes returns the bytes of s without copying them. Nobody may write them.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
