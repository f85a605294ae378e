package route

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// kind is what a part of a template stands for.
type kind uint8

const (
	isLiteral kind = iota
	isSource
	isTopic
	isLevel  // one level of the topic
	isLevels // some of them
	isPayload
	isField // of the payload
	isProperty
	isContentType
	isPlace
	isNode
	isTime     // the time
	isTimeText // the time in a layout
)

// part is a piece of a template.
type part struct {
	kind     kind
	text     string // of a literal, the property's name, the layout
	path     []step // of a field
	from, to int    // levels; to is 0 for all
	optional bool
	written  string // between the braces, for errors
}

const (
	maxTemplate = 4 << 10 // bytes of a template
	maxParts    = 64
	maxLevel    = 127
)

// ParseTemplate parses a template. Errors name the place in the text.
func ParseTemplate(text string) (Template, error) {
	t := Template{text: text, most: MaxText}
	fail := func(at int, err error) (Template, error) {
		return Template{}, fmt.Errorf("template %s, character %d: %w", shown(text), at+1, err)
	}
	if len(text) > maxTemplate {
		return fail(0, fmt.Errorf("want a template of at most %d bytes, not %d", maxTemplate, len(text)))
	}
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			t.parts = append(t.parts, part{kind: isLiteral, text: plain.String()})
			plain.Reset()
		}
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c != '{' && c != '}':
			plain.WriteByte(c)
			i++
		case strings.HasPrefix(text[i+1:], text[i:i+1]): // {{ or }}
			plain.WriteByte(c)
			i += 2
		case c == '}':
			return fail(i, errors.New("a } has no {; a brace itself is written }}"))
		default:
			inside, ok := untilBrace(text[i+1:])
			if !ok {
				return fail(i, errors.New("a { has no }; a brace itself is written {{"))
			}
			p, err := parsePart(inside)
			if err != nil {
				return fail(i, err)
			}
			flush()
			if t.parts = append(t.parts, p); len(t.parts) > maxParts {
				return fail(i, fmt.Errorf("want at most %d parts", maxParts))
			}
			i += len(inside) + len("{}")
		}
	}
	flush()
	return t, nil
}

// shown is a template as errors have it.
func shown(text string) string {
	const most = 60
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return strconv.Quote(text)
}

// untilBrace returns the text in front of the closing brace, which may contain braces in quotes.
func untilBrace(text string) (inside string, ok bool) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == '}' && !quoted:
			return text[:i], true
		}
	}
	return "", false
}

var plainParts = map[string]kind{
	"source": isSource, "topic": isTopic, "payload": isPayload, "content_type": isContentType, "place": isPlace, "node": isNode, "time": isTime,
}

// parsePart parses what is between braces.
func parsePart(inside string) (part, error) {
	p := part{written: inside}
	if layout, ok := strings.CutPrefix(inside, "time:"); ok {
		const longest = 64
		if p.kind, p.text = isTimeText, layout; layout == "" || len(layout) > longest {
			return p, errors.New("want a layout such as {time:2006-01-02}")
		}
		if time.Unix(0, 0).UTC().Format(layout) == layout {
			return p, fmt.Errorf("%q is no layout of Go's: want one such as {time:2006-01-02}", layout)
		}
		return p, nil
	}
	name, optional := strings.CutSuffix(inside, "?")
	p.optional = optional
	if k, ok := plainParts[name]; ok {
		p.kind = k
		return p, nil
	}
	var err error
	switch {
	case strings.HasPrefix(name, "payload.") || strings.HasPrefix(name, "payload["):
		p.kind = isField
		p.path, err = parsePath(strings.TrimPrefix(name[len("payload"):], "."))
	case strings.HasPrefix(name, "property.") || strings.HasPrefix(name, "property["):
		p.kind = isProperty
		p.text, err = propertyName(name[len("property"):])
	case strings.HasPrefix(name, "topic["):
		err = p.parseLevels(name[len("topic"):])
	default:
		err = fmt.Errorf("{%s} is unknown: want one of {source} {topic} {topic[1]} {payload} {payload.FIELD} {property.NAME} {content_type} {place} {node} {time} {time:LAYOUT}", inside)
	}
	if err != nil && p.kind != isLiteral {
		err = fmt.Errorf("{%s}: %w", inside, err)
	}
	return p, err
}

// propertyName parses .NAME, where NAME may have points, or ["NAME"].
func propertyName(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, "."); ok {
		if name == "" || strings.ContainsAny(name, "[]{}\"'?: \t\n") {
			return "", errors.New("want a name such as {property.unit} or {property[\"the unit\"]}")
		}
		return name, nil
	}
	s, rest, err := bracket(text)
	if err == nil && (s.index >= 0 && s.name == "" || rest != "") {
		err = errors.New("want one name")
	}
	return s.name, err
}

// parseLevels parses [1], [1:3] or [1:].
func (p *part) parseLevels(text string) error {
	p.kind = isLevel
	bad := errors.New("want a level such as {topic[1]}, or levels such as {topic[1:3]} or {topic[1:]}, counted from 0")
	inside, ok := strings.CutSuffix(text[1:], "]")
	from, to, several := strings.Cut(inside, ":")
	if !ok {
		return bad
	}
	number := func(text string) (int, bool) {
		n, err := strconv.Atoi(text)
		return n, err == nil && n >= 0 && n <= maxLevel && text[0] != '+' && text[0] != '-'
	}
	if p.from, ok = number(from); !ok {
		return bad
	}
	if !several {
		return nil
	}
	p.kind = isLevels
	if to == "" {
		return nil
	}
	if p.to, ok = number(to); !ok || p.to <= p.from {
		return bad
	}
	return nil
}
