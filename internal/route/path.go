package route

import (
	"errors"
	"strconv"
	"strings"

	"github.com/longline/longline/internal/format"
)

// step is one part of the path of a field: a name in a map, or an index in a list.
type step struct {
	name  string
	index int // -1 for a name
}

const (
	maxSteps = 64  // of a path
	maxName  = 256 // bytes of a name
	maxIndex = 1 << 16
)

var (
	errPathEmpty = errors.New("want the path of a field, such as a.b")
	errPathLong  = errors.New("the path is too long")
)

// parsePath parses a path such as a.b[3]["c d"].
func parsePath(text string) (path []step, err error) {
	if text == "" {
		return nil, errPathEmpty
	}
	for rest := text; rest != ""; {
		var s step
		switch {
		case rest[0] == '[':
			s, rest, err = bracket(rest)
		case len(path) > 0 && rest[0] != '.':
			return nil, errors.New("want . or [ in " + strconv.Quote(rest))
		default:
			s, rest, err = named(strings.TrimPrefix(rest, "."))
		}
		if err != nil {
			return nil, err
		}
		if path = append(path, s); len(path) > maxSteps {
			return nil, errPathLong
		}
	}
	return path, nil
}

// named cuts a name, without quotes, from a path.
func named(text string) (s step, rest string, err error) {
	end := strings.IndexAny(text, ".[")
	if end < 0 {
		end = len(text)
	}
	s, rest = step{name: text[:end], index: -1}, text[end:]
	switch {
	case s.name == "":
		return s, "", errPathEmpty
	case strings.ContainsAny(s.name, "]{}\"'?: \t\n"):
		return s, "", errors.New("write " + strconv.Quote(s.name) + " as [" + strconv.Quote(s.name) + "]")
	case len(s.name) > maxName:
		return s, "", errPathLong
	}
	return s, rest, nil
}

// bracket cuts an index or a name in quotes, in brackets, from a path.
func bracket(text string) (s step, rest string, err error) {
	if strings.HasPrefix(text, `["`) {
		quoted, err := strconv.QuotedPrefix(text[1:])
		if err == nil && strings.HasPrefix(text[1+len(quoted):], "]") {
			name, err := strconv.Unquote(quoted)
			if err == nil && len(name) > maxName {
				err = errPathLong
			}
			return step{name: name, index: -1}, text[len(quoted)+len("[]"):], err
		}
		return s, "", errors.New("want a name such as [\"a b\"] in " + strconv.Quote(text))
	}
	inside, rest, ok := strings.Cut(text[1:], "]")
	s.index, err = strconv.Atoi(inside)
	if !ok || err != nil || s.index < 0 || s.index > maxIndex || inside[0] < '0' || inside[0] > '9' {
		return s, "", errors.New("want an index from 0 on, such as [3], or a name such as [\"a b\"] in " + strconv.Quote(text))
	}
	return s, rest, nil
}

// ParseField parses the path of a field for View.Set.
func ParseField(text string) ([]string, error) { return parseNames(text) }

// parseNames parses a path of names alone.
func parseNames(text string) ([]string, error) {
	path, err := parsePath(text)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(path))
	for i, s := range path {
		if s.index >= 0 {
			return nil, errors.New("items of a list cannot be changed: want names only")
		}
		names[i] = s.name
	}
	return names, nil
}

// at returns the value at a path, and reports whether there is one; null if not.
func at(x format.Value, path []step) (format.Value, bool) {
	for _, s := range path {
		switch {
		case s.index < 0:
			var ok bool
			if x, ok = x.Field(s.name); !ok {
				return format.Value{}, false
			}
		case x.Kind() != format.List || s.index >= x.Len():
			return format.Value{}, false
		default:
			x = x.At(s.index)
		}
	}
	return x, true
}
