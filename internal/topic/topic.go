// Package topic holds the rules of topic names, topic filters and device ids, and the
// tree that finds subscribers by name, in an order that keeps a subtree together.
//
// Names and filters follow MQTT 5 §4.7: levels joined by '/', any of which may be
// empty. In a filter, '+' matches one level and a last '#' matches the remaining levels and the
// parent. Section numbers in this package are those of MQTT 5.
package topic

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxLength is the limit of an MQTT string, whose length has two bytes, §1.5.4.
const maxLength = 65535

// Unbounded are the limits of the protocol alone.
var Unbounded = Limits{Depth: maxLength + 1, Length: maxLength}

// Limits bound names and filters. Zero fields mean the defaults.
type Limits struct {
	Depth  int `yaml:"depth" help:"maximum number of levels in a topic or filter"`
	Length int `yaml:"length" unit:"bytes" help:"longest topic or filter, at most 65535"`
}

// WithDefaults returns l with the defaults in place of zero fields.
func (l Limits) WithDefaults() Limits {
	if l.Depth <= 0 {
		l.Depth = 16
	}
	if l.Length <= 0 {
		l.Length = 1024
	}
	l.Length = min(l.Length, maxLength)
	return l
}

// Error says what is wrong with a name, a filter or a device id. It does not quote the text.
type Error struct {
	What   string // "topic", "filter" or "device id"
	Level  int    // the wrong level, from 1; 0 when it is the whole text
	Reason string // a predicate, such as "is empty"
}

func (e *Error) Error() string {
	if e.Level == 0 {
		return e.What + " " + e.Reason
	}
	return fmt.Sprintf("%s level %d %s", e.What, e.Level, e.Reason)
}

// ValidateName returns an *Error unless topic is a valid name to publish to.
func ValidateName(topic string, l Limits) error {
	return validate("topic", topic, l, nameLevel)
}

// ValidateFilter returns an *Error unless filter is valid to subscribe to, shared or not.
func ValidateFilter(filter string, l Limits) error {
	_, _, shared, err := Shared(filter)
	if err != nil {
		return err
	}
	if shared {
		l = l.WithDefaults()
		l.Depth += 2 // $share and the group
	}
	return validate("filter", filter, l, filterLevel)
}

// validate checks the rules that names and filters have in common, and each level with rule, which returns
// the reason of an error.
func validate(what, s string, l Limits, rule func(level string, last bool) string) error {
	l = l.WithDefaults()
	if s == "" { // §4.7.3
		return &Error{what, 0, "is empty"}
	}
	if len(s) > l.Length {
		return &Error{what, 0, fmt.Sprintf("is longer than %d bytes", l.Length)}
	}
	for n, more := 1, true; more; n++ {
		if n > l.Depth {
			return &Error{what, 0, fmt.Sprintf("has more than %d levels", l.Depth)}
		}
		var level string
		level, s, more = strings.Cut(s, "/")
		if reason := textLevel(level); reason != "" {
			return &Error{what, n, reason}
		}
		if reason := rule(level, !more); reason != "" {
			return &Error{what, n, reason}
		}
	}
	return nil
}

// textLevel checks the rules for every MQTT string, §1.5.4 and §4.7.3.
func textLevel(level string) string {
	switch {
	case strings.IndexByte(level, 0) >= 0:
		return "has a NUL character"
	case !utf8.ValidString(level):
		return "is not valid UTF-8"
	}
	return ""
}

// nameLevel: wildcards must not be used within a name, §4.7.1.
func nameLevel(level string, _ bool) string {
	if wildcard(level) {
		return "has a wildcard, which only filters may have"
	}
	return ""
}

// filterLevel: a wildcard occupies a whole level, and '#' is the last, §4.7.1.
func filterLevel(level string, last bool) string {
	switch {
	case level == "#" && !last:
		return "is '#', which must be the last"
	case len(level) > 1 && wildcard(level):
		return "mixes a wildcard with other characters"
	}
	return ""
}

func wildcard(level string) bool {
	return strings.IndexByte(level, '+') >= 0 || strings.IndexByte(level, '#') >= 0
}
