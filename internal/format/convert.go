package format

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/longline/longline/internal/jsontext"
)

// Conversions for formats with a schema. A text that is a JSON number is one where the schema wants a number, so that what comes from XML
// needs no other schema. Nothing is rounded but fractions.

// number makes n what v is as a number, and reports whether it is one.
func (v Value) number(n *node) bool {
	switch from := v.node(); from.kind {
	case Int, Uint, Float:
		*n = *from
		return true
	case Text:
		return isNumber(from.text) && n.setNumber(from.text) == nil
	}
	return false
}

// isNumber reports whether text is a JSON number.
func isNumber(text string) bool {
	if text == "" || len(text) > 64 || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return false
	}
	end, want := jsontext.SkipNumber(viewBytes(text), 0)
	return want == "" && end == len(text)
}

// toInt returns v as an integer of that many bits.
func toInt(v Value, width int) (int64, error) {
	var n node
	if v.number(&n) {
		if i, ok := n.int(); ok && i>>(width-1) == i>>63 {
			return i, nil
		}
	}
	return 0, wants(fmt.Sprintf("an integer of %d bits", width), v)
}

// toUint returns v as an integer of that many bits, without a sign.
func toUint(v Value, width int) (uint64, error) {
	var n node
	if v.number(&n) {
		if u, ok := n.uint(); ok && (width == 64 || u>>width == 0) {
			return u, nil
		}
	}
	return 0, wants(fmt.Sprintf("an integer of %d bits without a sign", width), v)
}

// toFloat returns v as a number in 32 or 64 bits of floating point. A number with a fraction is rounded to the nearest; an integer must
// be exact.
func toFloat(v Value, width int) (float64, error) {
	if v.Kind() == Text {
		switch v.Text() {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
	}
	var n node
	if !v.number(&n) {
		return 0, wants("a number", v)
	}
	f := n.float()
	if width == 32 {
		f = float64(float32(f))
	}
	if n.kind == Float && (math.IsInf(f, 0) == math.IsInf(n.float(), 0)) || n.kind != Float && sameInteger(f, &n) {
		return f, nil
	}
	return 0, wants(fmt.Sprintf("a number that fits %d bits of floating point", width), v)
}

// sameInteger reports whether f is the Int or Uint n.
func sameInteger(f float64, n *node) bool {
	var back node
	back.setFloat(f)
	if n.kind == Int {
		i, ok := back.int()
		return ok && i == int64(n.number)
	}
	u, ok := back.uint()
	return ok && u == n.number
}

// toBool returns v as a Bool.
func toBool(v Value) (bool, error) {
	switch {
	case v.Kind() == Bool:
		return v.Bool(), nil
	case v.Text() == "true":
		return true, nil
	case v.Text() == "false":
		return false, nil
	}
	return false, wants("true or false", v)
}

// toText returns v, which has to be a Text.
func toText(v Value) (string, error) {
	if v.Kind() != Text {
		return "", wants("a text", v)
	}
	return v.Text(), nil
}

var errBase64 = errors.New("want bytes, or a text of base64")

// appendBytes appends Bytes, or what a Text has as base64 (standard or for URLs, with or without padding).
func appendBytes(dst []byte, v Value) ([]byte, error) {
	switch v.Kind() {
	case Bytes:
		return append(dst, v.Bytes()...), nil
	case Text:
		text, code := v.Text(), base64.StdEncoding
		if strings.ContainsAny(text, "-_") {
			code = base64.URLEncoding
		}
		if !strings.HasSuffix(text, "=") {
			code = code.WithPadding(base64.NoPadding)
		}
		out, err := code.AppendDecode(dst, viewBytes(text))
		if err != nil || strings.ContainsAny(text, "\r\n") {
			return dst, errBase64
		}
		return out, nil
	}
	return dst, wants("bytes, or a text of base64", v)
}

// instant is a time as seconds since 1970 in UTC and nanoseconds beyond.
type instant struct {
	seconds int64
	nanos   int64
}

// IsTime reports whether formats that have times take text as one: RFC 3339, also with a space in place of the T or without a zone, which is UTC then.
func IsTime(text string) bool {
	_, _, ok := timeOf(text)
	return ok
}

// timeOf reads a text as a time: RFC 3339, also with a space in place of the T. Without a zone it is UTC, and zoned is false.
func timeOf(text string) (at instant, zoned, ok bool) {
	if len(text) < len("2006-01-02T15:04:05") || text[10] != 'T' && text[10] != 't' && text[10] != ' ' {
		return at, false, false
	}
	day, ok1 := dayOf(text[:10])
	clock, rest, ok2 := clockOf(text[11:])
	offset, ok3 := zoneOf(rest)
	clock.seconds += day*86400 - offset
	return clock, rest != "", ok1 && ok2 && ok3
}

// dayOf reads a date, and returns the days since 1970.
func dayOf(text string) (day int64, ok bool) {
	if len(text) != len("2006-01-02") || text[4] != '-' || text[7] != '-' {
		return 0, false
	}
	y, ok1 := digits(text[:4], 9999)
	m, ok2 := digits(text[5:7], 12)
	d, ok3 := digits(text[8:], 31)
	t := time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC)
	return t.Unix() / 86400, ok1 && ok2 && ok3 && t.Day() == d && int(t.Month()) == m
}

// clockOf reads a time of day, and returns what is behind it.
func clockOf(text string) (at instant, rest string, ok bool) {
	if len(text) < len("15:04:05") || text[2] != ':' || text[5] != ':' {
		return at, "", false
	}
	h, ok1 := digits(text[:2], 23)
	m, ok2 := digits(text[3:5], 59)
	s, ok3 := digits(text[6:8], 59)
	at.seconds = int64(h*3600 + m*60 + s)
	rest, ok = text[8:], ok1 && ok2 && ok3
	if rest == "" || rest[0] != '.' {
		return at, rest, ok
	}
	n := 1
	for unit := int64(1e8); n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
		at.nanos += int64(rest[n]-'0') * unit
		unit /= 10
	}
	return at, rest[n:], ok && n > 1
}

// zoneOf reads a zone, and returns its offset in seconds.
func zoneOf(text string) (offset int64, ok bool) {
	if text == "" || text == "Z" || text == "z" {
		return 0, true
	}
	if len(text) != len("+08:00") || text[0] != '+' && text[0] != '-' || text[3] != ':' {
		return 0, false
	}
	h, ok1 := digits(text[1:3], 23)
	m, ok2 := digits(text[4:], 59)
	offset = int64(h*3600 + m*60)
	if text[0] == '-' {
		offset = -offset
	}
	return offset, ok1 && ok2
}

// digits reads text that is nothing but digits, up to most.
func digits(text string, most int) (n int, ok bool) {
	for i := range len(text) {
		c := text[i] - '0'
		if c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, n <= most
}

// units returns the instant as a count of parts of a second, cutting off what is finer; false beyond 64 bits.
func (at instant) units(perSecond int64) (n int64, ok bool) {
	const far = 1 << 40 // seconds: beyond every year of four digits
	if at.seconds < -far || at.seconds > far {
		return 0, false
	}
	if perSecond == 1e9 && (at.seconds < math.MinInt64/1_000_000_000 || at.seconds > math.MaxInt64/1_000_000_000-1) {
		return 0, false
	}
	return at.seconds*perSecond + at.nanos/(1e9/perSecond), true
}

var errYear = errors.New("the time is not in the years 0 to 9999")

// appendTime appends an instant in a layout.
func appendTime(dst []byte, at instant, layout string) ([]byte, error) {
	t := time.Unix(at.seconds, at.nanos).UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return dst, errYear
	}
	return t.AppendFormat(dst, layout), nil
}

// instantOf returns the instant n parts of a second after 1970.
func instantOf(n, perSecond int64) instant {
	s, rest := n/perSecond, n%perSecond
	if rest < 0 {
		s, rest = s-1, rest+perSecond
	}
	return instant{s, rest * (1e9 / perSecond)}
}

// setText makes n what add appends to the tree's own text.
func (t *Tree) setText(i int32, add func(dst []byte) ([]byte, error)) (err error) {
	from := len(t.text)
	if t.text, err = add(t.text); err != nil {
		return err
	}
	t.nodes[i].kind, t.nodes[i].text = Text, view(t.text[from:])
	return nil
}
