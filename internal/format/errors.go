package format

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// fieldErr is an error about a field, whose path grows while the error goes up.
type fieldErr struct {
	path string // such as a.b[3]
	err  error
}

func (e *fieldErr) Error() string { return "field " + e.path + ": " + e.err.Error() }
func (e *fieldErr) Unwrap() error { return e.err }

// Bounds of a path in an error. A payload's names may be as long as the payload.
const (
	maxShownName = 64
	maxShownPath = 256
)

// inField says that err is about the member of that name, or about what is in it.
func inField(name string, err error) error { return under(showName(name), err) }

// inElement says that err is about element i of a list, or about what is in it.
func inElement(i int, err error) error { return under("["+strconv.Itoa(i)+"]", err) }

// inPath says that err is about the field at a path of names.
func inPath(path []string, err error) error {
	for i := len(path) - 1; i >= 0; i-- {
		err = inField(path[i], err)
	}
	return err
}

func under(step string, err error) error {
	var inner *fieldErr
	if !errors.As(err, &inner) {
		return &fieldErr{step, err}
	}
	switch {
	case len(inner.path) > maxShownPath:
		step += "..." + inner.path[len(inner.path)-maxShownPath/2:]
	case inner.path[0] == '[':
		step += inner.path
	default:
		step += "." + inner.path
	}
	return &fieldErr{step, inner.err}
}

// showName returns a name as it is, or quoted where that would mislead.
func showName(name string) string {
	short := name
	if len(short) > maxShownName {
		short = short[:maxShownName]
	}
	plain := name != "" && !strings.ContainsFunc(short, func(r rune) bool {
		return r <= ' ' || r == '.' || r == '[' || r == ':' || r == '"' || r == utf8.RuneError || !strconv.IsPrint(r)
	})
	switch {
	case !plain:
		short = strconv.Quote(short)
	default:
		short = strings.Clone(short) // the payload does not outlive its use
	}
	if len(name) > maxShownName {
		short += "..."
	}
	return short
}

var (
	errTwice  = errors.New("a second time: want it once")
	errUTF8   = errors.New("it is not UTF-8")
	errOutput = fmt.Errorf("the result is larger than %d MiB", maxOutput>>20)
)

// wants returns the error for a value that is something else than what its place needs.
func wants(what string, v Value) error {
	return fmt.Errorf("want %s, not %s", what, describe(v))
}

// describe returns a short text for a value.
func describe(v Value) string {
	switch v.Kind() {
	case Text:
		return "the text " + showText(v.Text())
	case Bool, Int, Uint, Float:
		return "the " + v.Kind().String() + " " + string(appendScalar(nil, v))
	case Null:
		return "null"
	default:
		return "a " + v.Kind().String()
	}
}

func showText(text string) string {
	if len(text) > maxShownName {
		return strconv.Quote(text[:maxShownName]) + "..."
	}
	return strconv.Quote(text)
}
