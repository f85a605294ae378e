package sql

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/longline/longline/internal/route"
)

const (
	// maxStatement bounds the text of a statement in the configuration.
	maxStatement = 64 << 10
	// maxColumns bounds the parameters of a row, and the columns of a table.
	maxColumns = 1000
	// maxParameters bounds those of a statement. Both protocols have 16 bits for their number.
	maxParameters = 65_535
	// maxRows bounds the rows of a statement: more make it little faster.
	maxRows = 512
)

// fragment is a piece of a statement: a text, and behind it a parameter unless that is -1.
type fragment struct {
	text  string
	value int // which of the record's values it is
}

// fragments are a part of a statement.
type fragments []fragment

// parameters returns the number of parameters.
func (f fragments) parameters() (n int) {
	for _, each := range f {
		if each.value >= 0 {
			n++
		}
	}
	return n
}

// insert is an INSERT that is made for any number of records: head, group, and a comma and group again for each further record, tail.
type insert struct {
	head, group, tail fragments
	rows              int // of a statement at most; 1 if it cannot have more, because there are parameters outside of the group
}

// text returns the statement for so many records.
func (s *insert) text(lang language, records int) string {
	var b strings.Builder
	n := 0
	write := func(f fragments) {
		for _, each := range f {
			b.WriteString(each.text)
			switch {
			case each.value < 0:
			case lang == postgres:
				n++
				b.WriteByte('$')
				b.WriteString(strconv.Itoa(n))
			default:
				b.WriteByte('?')
			}
		}
	}
	write(s.head)
	for i := range records {
		if i > 0 {
			b.WriteString(", ")
		}
		write(s.group)
	}
	write(s.tail)
	return b.String()
}

// parameters calls yield with the values of the statement's parameters, in their order, for the records with these values.
func (s *insert) parameters(rows [][]any, yield func(any)) {
	give := func(f fragments, row []any) {
		for _, each := range f {
			if each.value >= 0 {
				yield(row[each.value])
			}
		}
	}
	give(s.head, rows[0])
	for _, row := range rows {
		give(s.group, row)
	}
	give(s.tail, rows[0])
}

// split cuts n rows into statements. Their sizes are powers of two, so that there are few different statements.
func (s *insert) split(n int) (sizes []int) {
	for n > 0 {
		size := 1
		for size*2 <= min(n, s.rows) {
			size *= 2
		}
		sizes = append(sizes, size)
		n -= size
	}
	return sizes
}

// bound sets how many rows a statement may have, if it may have more than one.
func (s *insert) bound() {
	s.rows = 1
	if n := s.group.parameters(); n > 0 && s.head.parameters() == 0 && s.tail.parameters() == 0 {
		s.rows = max(1, min(maxRows, maxParameters/n))
	}
}

var errRepeated = errors.New("want one group of values, which is repeated for each message")

// parseInsert parses a statement with named parameters, and returns what the parameters are.
func parseInsert(lang language, text string) (*insert, []route.Template, error) {
	if len(text) > maxStatement {
		return nil, nil, fmt.Errorf("want at most %d bytes, not %d", maxStatement, len(text))
	}
	tokens, err := lex(lang, text)
	if err != nil {
		return nil, nil, err
	}
	tokens = trim(tokens)
	if len(tokens) == 0 || !tokens[0].is("insert") && !(tokens[0].is("replace") && lang == mySQL) {
		return nil, nil, errors.New("want an INSERT statement")
	}
	from, to, err := findGroup(tokens)
	if err != nil {
		return nil, nil, err
	}
	p := parser{names: make(map[string]int)}
	s := &insert{head: p.fragments(tokens[:from]), group: p.fragments(tokens[from:to]), tail: p.fragments(tokens[to:])}
	if p.err != nil {
		return nil, nil, p.err
	}
	if len(p.templates) == 0 || len(p.templates) > maxColumns {
		return nil, nil, fmt.Errorf("want 1 to %d parameters such as :source", maxColumns)
	}
	if s.bound(); lang == postgres && updates(tokens[to:]) {
		s.rows = 1 // PostgreSQL refuses a statement that would update a row twice
	}
	return s, p.templates, nil
}

// trim returns tokens without a semicolon and blanks at their end, and blanks at their beginning.
func trim(tokens []token) []token {
	ended := false
	for len(tokens) > 0 {
		last := tokens[len(tokens)-1]
		if last.kind != blank && (ended || !last.is(";")) {
			break
		}
		ended = ended || last.is(";")
		tokens = tokens[:len(tokens)-1]
	}
	for len(tokens) > 0 && tokens[0].kind == blank {
		tokens = tokens[1:]
	}
	return tokens
}

// findGroup returns where the group of values is among the tokens: behind the word VALUES, in parentheses. Without one, it is empty and at the end.
func findGroup(tokens []token) (from, to int, err error) {
	from, to = len(tokens), len(tokens)
	depth, behind := 0, false // the word is the last before this one
	for i, t := range tokens {
		if t.kind == blank {
			continue
		}
		switch {
		case t.is(";"):
			return 0, 0, fmt.Errorf("character %d: want one statement", t.at+1)
		case t.is("("):
			if depth++; behind && depth == 1 && from == len(tokens) {
				from = i
			}
		case t.is(")"):
			if depth--; depth < 0 {
				return 0, 0, fmt.Errorf("character %d: no parenthesis to close", t.at+1)
			}
			if depth == 0 && from < len(tokens) && to == len(tokens) {
				to = i + 1
			}
		case t.is(",") && depth == 0 && lastOf(tokens[:i]) == to-1:
			return 0, 0, fmt.Errorf("character %d: %w", t.at+1, errRepeated)
		}
		behind = depth == 0 && t.is("values")
	}
	if depth > 0 {
		return 0, 0, errors.New("a parenthesis is not closed")
	}
	return from, to, nil
}

// lastOf returns the index of the last token that is not blank; -1 if there is none.
func lastOf(tokens []token) int {
	for i, t := range slices.Backward(tokens) {
		if t.kind != blank {
			return i
		}
	}
	return -1
}

// updates reports whether tokens have DO UPDATE.
func updates(tokens []token) bool {
	for i, t := range tokens {
		if last := lastOf(tokens[:i]); t.is("update") && last >= 0 && tokens[last].is("do") {
			return true
		}
	}
	return false
}

// parser collects parameters.
type parser struct {
	names     map[string]int
	templates []route.Template
	err       error
}

// fragments returns tokens as fragments. Blanks become one space, because a comment may hide the rest of a line.
func (p *parser) fragments(tokens []token) (all fragments) {
	var b strings.Builder
	flush := func(value int) {
		all = append(all, fragment{b.String(), value})
		b.Reset()
	}
	for _, t := range tokens {
		switch t.kind {
		case blank:
			b.WriteByte(' ')
		case parameter:
			flush(p.value(t))
		default:
			b.WriteString(t.text)
		}
	}
	if b.Len() > 0 {
		flush(-1)
	}
	return all
}

// value returns which value a parameter is.
func (p *parser) value(t token) int {
	n, known := p.names[t.text]
	if known {
		return n
	}
	template, err := route.ParseTemplate("{" + t.text + "}")
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("character %d: %w", t.at+1, err)
	}
	n = len(p.templates)
	p.names[t.text], p.templates = n, append(p.templates, template)
	return n
}
