package route

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/message"
)

// Template is a text with parts of a message in it, such as "telemetry.{payload.site}". It is safe for many goroutines at once. The zero
// Template makes the empty text.
//
//	{source}           the device that published the message, or an empty text for a backend
//	{topic}            the topic
//	{topic[1]}         one of its levels, counted from 0
//	{topic[1:3]}       levels 1 and 2; {topic[1:]} all from level 1 on
//	{payload}          the payload as it leaves
//	{payload.a.b}      a field of the payload; {payload.a[3]} an item of a list; {payload["a.b"]} a field with other characters
//	{property.NAME}    a user property; {property["a b"]} one with other characters
//	{content_type}     the content type of the payload as it leaves
//	{place} {node}     the place in the stream, and the node's number
//	{time}             when the gateway received it, as 2006-01-02T15:04:05.000Z; {time:LAYOUT} in a layout of Go's, in UTC
//	{{ and }}          a brace
//
// A ? in front of the closing brace says that the part may be missing: it is then an empty text, or nil as a Value.
type Template struct {
	text  string
	parts []part
	most  int
}

// MaxText is the longest text that a template makes, in bytes, unless AtMost says less.
const MaxText = 64 << 10

// timeLayout is how {time} is written.
const timeLayout = "2006-01-02T15:04:05.000Z"

// AtMost returns a template whose texts have at most n bytes: longer ones are errors.
func (t Template) AtMost(n int) Template {
	t.most = n
	return t
}

// Literal reports whether the template makes the same text of every message.
func (t Template) Literal() bool {
	return len(t.parts) == 0 || len(t.parts) == 1 && t.parts[0].kind == isLiteral
}

// String returns the template as it was written.
func (t Template) String() string { return t.text }

// Text appends the text for the message of v to dst. An error is about this message alone, and names the template and the part.
func (t Template) Text(v *View, dst []byte) ([]byte, error) {
	start := len(dst)
	for i := range t.parts {
		var err error
		if dst, err = t.parts[i].appendTo(v, dst, start+t.most); err != nil {
			return dst[:start], t.fail(&t.parts[i], err)
		}
	}
	return dst, nil
}

// Render is Text as a string. It allocates only if the text is not one of the message's own. The string stays as it is after Reset.
func (t Template) Render(v *View) (string, error) {
	switch len(t.parts) {
	case 0:
		return "", nil
	case 1:
		p := &t.parts[0]
		text, ok, err := p.own(v)
		if err == nil && ok && len(text) > t.most {
			err = errLong
		}
		if err != nil {
			return "", t.fail(p, err)
		}
		if ok {
			return text, nil
		}
	}
	var err error
	if v.scratch, err = t.Text(v, v.scratch[:0]); err != nil {
		return "", err
	}
	return string(v.scratch), nil
}

// Value is the value of a template that is one part, with its type: nil, bool, int64, uint64, float64, string, []byte ({payload}), time.Time
// ({time}), []any or map[string]any. That of any other template is its text. The value is the caller's, and stays as it is after Reset.
func (t Template) Value(v *View) (any, error) {
	if len(t.parts) == 1 {
		if x, ok, err := t.parts[0].typed(v); err != nil {
			return nil, t.fail(&t.parts[0], err)
		} else if ok {
			return x, nil
		}
	}
	return t.Render(v)
}

// fail names the template and the part, unless err is about the payload as a whole.
func (t Template) fail(p *part, err error) error {
	if p.kind == isLiteral {
		return fmt.Errorf("template %s: %w", shown(t.text), err)
	}
	return fmt.Errorf("template %s: {%s}: %w", shown(t.text), p.written, err)
}

var (
	errLong       = errors.New("the text is too long")
	errNoField    = errors.New("the payload has no such field")
	errNull       = errors.New("the field is null")
	errNoText     = errors.New("the field is a list or a map, which has no text")
	errNoProperty = errors.New("the message has no such property")
	errNoLevel    = errors.New("the topic has no such level")
)

// own returns the text of p if it is one that the message has already.
func (p *part) own(v *View) (text string, ok bool, err error) {
	switch p.kind {
	case isLiteral:
		return p.text, true, nil
	case isSource:
		return v.message.Source, true, nil
	case isTopic:
		return v.message.Topic, true, nil
	case isLevel, isLevels:
		text, ok = cutLevels(v.message.Topic, p)
		if !ok && !p.optional {
			return "", false, errNoLevel
		}
		return text, true, nil
	case isProperty:
		for _, all := range [...][]message.Property{v.added, v.message.Properties} {
			for _, each := range all {
				if each.Key == p.text {
					return each.Value, true, nil
				}
			}
		}
		if !p.optional {
			return "", false, errNoProperty
		}
		return "", true, nil
	case isContentType:
		return v.contentType(), true, nil
	}
	return "", false, nil
}

// cutLevels returns the levels of a topic that p names, and reports whether the topic has them.
func cutLevels(text string, p *part) (string, bool) {
	for range p.from {
		_, rest, ok := strings.Cut(text, "/")
		if !ok {
			return "", false
		}
		text = rest
	}
	n := p.to - p.from
	switch {
	case p.kind == isLevel:
		n = 1
	case p.to == 0:
		return text, true
	}
	end := 0
	for range n {
		if end > len(text) {
			return "", false
		}
		i := strings.IndexByte(text[end:], '/')
		if i < 0 {
			i = len(text) - end
		}
		end += i + 1
	}
	return text[:end-1], true
}

// appendTo appends the text of p to dst, which may then have most bytes.
func (p *part) appendTo(v *View, dst []byte, most int) ([]byte, error) {
	text, ok, err := p.own(v)
	if err != nil {
		return dst, err
	}
	if ok {
		if len(text) > most-len(dst) {
			return dst, errLong
		}
		return append(dst, text...), nil
	}
	start := len(dst)
	switch p.kind {
	case isPayload:
		encoded, _, err := v.Encoded()
		if err != nil {
			return dst, err
		}
		if len(encoded) > most-len(dst) {
			return dst, errLong
		}
		return append(dst, encoded...), nil
	case isField:
		x, err := p.find(v)
		switch {
		case err != nil:
			return dst, err
		case x.Kind() == format.Null && p.optional:
			return dst, nil
		case x.Kind() == format.Null:
			return dst, errNull
		}
		if len(x.Text()) > most-len(dst) || base64.StdEncoding.EncodedLen(len(x.Bytes())) > most-len(dst) {
			return dst, errLong
		}
		if dst, err = appendValue(dst, x); err != nil {
			return dst, err
		}
	case isPlace:
		dst = strconv.AppendUint(dst, v.Place, 10)
	case isNode:
		dst = strconv.AppendUint(dst, uint64(v.Node), 10)
	case isTime:
		dst = v.Time.UTC().AppendFormat(dst, timeLayout)
	case isTimeText:
		dst = v.Time.UTC().AppendFormat(dst, p.text)
	}
	if len(dst) > most {
		return dst[:start], errLong
	}
	return dst, nil
}

// find returns the field that p names: null if it is missing and may be.
func (p *part) find(v *View) (format.Value, error) {
	t, err := v.Tree()
	if err != nil {
		return format.Value{}, err
	}
	x, ok := at(t.Root(), p.path)
	if !ok && !p.optional {
		return x, errNoField
	}
	return x, nil
}

// appendValue appends the text of a value that is not null.
func appendValue(dst []byte, x format.Value) ([]byte, error) {
	switch x.Kind() {
	case format.Bool:
		return strconv.AppendBool(dst, x.Bool()), nil
	case format.Int:
		i, _ := x.Int()
		return strconv.AppendInt(dst, i, 10), nil
	case format.Uint:
		u, _ := x.Uint()
		return strconv.AppendUint(dst, u, 10), nil
	case format.Float:
		f, _ := x.Float()
		if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
			return strconv.AppendFloat(dst, f, 'e', -1, 64), nil
		}
		return strconv.AppendFloat(dst, f, 'f', -1, 64), nil
	case format.Text:
		return append(dst, x.Text()...), nil
	case format.Bytes:
		return base64.StdEncoding.AppendEncode(dst, x.Bytes()), nil
	}
	return dst, errNoText
}

// typed returns the value of p; ok is false if that is its text.
func (p *part) typed(v *View) (x any, ok bool, err error) {
	switch p.kind {
	case isField:
		x, err := p.find(v)
		if err != nil {
			return nil, false, err
		}
		if v.spend(stepsPerCopy*size(x)) != nil { // there may be many templates of one large field
			return nil, false, errWork
		}
		return x.Any(), true, nil // nil where it is missing or null
	case isPayload:
		encoded, _, err := v.Encoded()
		return encoded, true, err
	case isPlace:
		return int64(min(v.Place, math.MaxInt64)), true, nil
	case isNode:
		return int64(v.Node), true, nil
	case isTime:
		return v.Time.UTC(), true, nil
	}
	if !p.optional {
		return nil, false, nil
	}
	text, _, err := p.own(v)
	if err != nil || text == "" {
		return nil, true, err
	}
	return text, true, nil
}
