package bridge

import (
	"errors"
	"fmt"
	"strings"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/topic"
)

// Table says which topics go over a bridge, and what they are called on the other side. Its methods are safe from any goroutine.
type Table struct{ rules []rule }

// rule is a line of a table: the topics that match a filter get the topic of a template.
type rule struct {
	filter string // as it is subscribed to
	match  string // the same without a shared subscription's group
	parts  []part // none leave the topic as it is
}

// part is a part of a template.
type part struct {
	route.Template
	oneLevel bool // its text comes from what a device or the other side wrote: it may not make levels of its own
}

// mostRules bounds the lines of a table, all of which a topic may be compared with.
const mostRules = 100

const arrow = "->"

// ParseTable parses the lines of a table: FILTER or FILTER -> TEMPLATE. A topic belongs to the first line whose filter matches it.
func ParseTable(lines []string) (*Table, error) {
	if len(lines) > mostRules {
		return nil, fmt.Errorf("want at most %d lines", mostRules)
	}
	t := new(Table)
	for _, line := range lines {
		r, err := parseRule(line)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		t.rules = append(t.rules, r)
	}
	return t, nil
}

func parseRule(line string) (r rule, err error) {
	filter, text, mapped := strings.Cut(line, arrow)
	r.filter = strings.TrimSpace(filter)
	if err := topic.ValidateFilter(r.filter, topic.Unbounded); err != nil {
		return r, err
	}
	if _, r.match, _, err = topic.Shared(r.filter); err != nil || !mapped {
		return r, err
	}
	text = strings.TrimSpace(text)
	if text == "" {
		return r, errors.New("has no topic behind the arrow")
	}
	for _, piece := range pieces(text) {
		template, err := route.ParseTemplate(piece)
		if err != nil {
			return r, err
		}
		r.parts = append(r.parts, part{template, foreign(piece)})
	}
	return r, nil
}

// pieces splits the text of a template into its parts and the texts between them. What is no template stays together, for its parser to refuse.
func pieces(text string) (list []string) {
	for text != "" {
		at := strings.IndexByte(text, '{')
		switch {
		case at < 0:
			return append(list, text)
		case strings.HasPrefix(text[at:], "{{"):
			list, text = append(list, text[:at+2]), text[at+2:]
			continue
		case at > 0:
			list, text = append(list, text[:at]), text[at:]
		}
		n := partEnd(text)
		list, text = append(list, text[:n]), text[n:]
	}
	return list
}

// partEnd returns the length of the part of a template at the beginning of text. It ends with a brace outside of quotes.
func partEnd(text string) int {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == '}' && !quoted:
			return i + 1
		}
	}
	return len(text)
}

// foreign reports whether the text of a part is one that the publisher of a message chose, other than its topic.
func foreign(piece string) bool {
	for _, name := range []string{"payload", "property", "content_type"} {
		if strings.HasPrefix(piece, "{"+name) {
			return true
		}
	}
	return false
}

// Empty reports whether the table has no lines.
func (t *Table) Empty() bool { return len(t.rules) == 0 }

// Filters returns the filters of the table, as they are subscribed to: without those that another one covers.
func (t *Table) Filters() (filters []string) {
	for i := range t.rules {
		if !t.covered(i) {
			filters = append(filters, t.rules[i].filter)
		}
	}
	return filters
}

// covered reports whether another rule's filter matches all that rule i's does. Shared subscriptions cover nothing: others have a part of them.
func (t *Table) covered(i int) bool {
	for j := range t.rules {
		r, by := &t.rules[i], &t.rules[j]
		if i == j || topic.IsShared(by.filter) || topic.IsShared(r.filter) || !topic.Covers(by.filter, r.filter) {
			continue
		}
		if j < i || !topic.Covers(r.filter, by.filter) { // of two that are the same, the first stays
			return true
		}
	}
	return false
}

// Matched returns the filters of the table, as topics are compared with them.
func (t *Table) Matched() (filters []string) {
	for i := range t.rules {
		filters = append(filters, t.rules[i].match)
	}
	return filters
}

// Map returns the topic on the other side of the message of v. ok is false if no line is for its topic. An error is about this message alone.
func (t *Table) Map(v *route.View) (to string, ok bool, err error) {
	from := v.Message().Topic
	for i := range t.rules {
		if r := &t.rules[i]; topic.Match(r.match, from) {
			to, err = r.topic(v)
			return to, err == nil, err
		}
	}
	return "", false, nil
}

// topic returns the topic that r gives to the message of v.
func (r *rule) topic(v *route.View) (string, error) {
	if len(r.parts) == 0 {
		to := v.Message().Topic
		return to, CheckTopic(to)
	}
	var to []byte
	for i := range r.parts {
		p, start := &r.parts[i], len(to)
		var err error
		if to, err = p.Text(v, to); err != nil {
			return "", err
		}
		if p.oneLevel && strings.IndexByte(string(to[start:]), '/') >= 0 {
			return "", fmt.Errorf("%s is %q: a text that is not of the topic makes one level, without a slash", p.Template, shortened(to[start:]))
		}
	}
	return string(to), CheckTopic(string(to))
}

// CheckTopic returns what is wrong with a topic that was made of a message. Topics that begin with $ belong to the broker.
func CheckTopic(to string) error {
	if err := topic.ValidateName(to, topic.Unbounded); err != nil {
		return fmt.Errorf("the topic %q is none: %w", shortened([]byte(to)), err)
	}
	if strings.HasPrefix(to, "$") {
		return fmt.Errorf("the topic %q begins with $: such topics are the broker's own", shortened([]byte(to)))
	}
	return nil
}

// shortened returns the beginning of a text, for errors.
func shortened(text []byte) string {
	const most = 100
	if len(text) > most {
		return string(text[:most]) + "..."
	}
	return string(text)
}
