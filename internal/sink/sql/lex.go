package sql

import (
	"errors"
	"fmt"
	"strings"
)

// language is what a server speaks.
type language uint8

const (
	postgres language = iota
	mySQL             // and MariaDB
)

// tokenKind is what a piece of a statement is.
type tokenKind uint8

const (
	blank     tokenKind = iota // white space and comments
	word                       // a keyword, or a name without quotes
	quoted                     // a string, or a name in quotes
	parameter                  // :NAME, or :{…}
	number
	other // an operator or punctuation: one character, or ::
)

// token is a piece of a statement.
type token struct {
	kind tokenKind
	text string // of a parameter: what a template has between its braces
	at   int    // its first byte in the statement
}

// is reports whether t is this keyword, in whatever case, or this punctuation.
func (t token) is(text string) bool {
	return (t.kind == word || t.kind == other) && strings.EqualFold(t.text, text)
}

var (
	errUnfinished = errors.New("a text, a name or a comment begins here and does not end")
	errExecuted   = errors.New("want no comment that the server executes")
	errMarker     = errors.New("want parameters by name, such as :source")
)

// lex returns the tokens of a statement. Its errors name the place.
func lex(lang language, text string) ([]token, error) {
	var all []token
	for at := 0; at < len(text); {
		t, n, err := lexOne(lang, text[at:], at > 0 && (text[at-1] == 'e' || text[at-1] == 'E') && all[len(all)-1].kind == word && len(all[len(all)-1].text) == 1)
		if err != nil {
			return nil, fmt.Errorf("character %d: %w", at+1, err)
		}
		t.at = at
		all = append(all, t)
		at += n
	}
	return all, nil
}

// lexOne returns the first token of text, which is not empty, and its length. escapes says that an E is in front, which makes a string of
// PostgreSQL one with backslashes.
func lexOne(lang language, text string, escapes bool) (t token, n int, err error) {
	c := text[0]
	switch {
	case isBlank(c):
		for n < len(text) && isBlank(text[n]) {
			n++
		}
		t.kind = blank
	case isComment(lang, text):
		n, err = comment(lang, text)
		t.kind = blank
	case c == '\'':
		n = untilQuote(text, lang == mySQL || escapes)
		t.kind = quoted
	case c == '"':
		n = untilQuote(text, lang == mySQL)
		t.kind = quoted
	case c == '`' && lang == mySQL:
		n = untilQuote(text, false)
		t.kind = quoted
	case c == '$' && lang == postgres:
		n = dollar(text)
		t.kind = quoted
		if len(text) > 1 && isDigit(text[1]) {
			err = errMarker
		}
	case c == '?' && lang == mySQL:
		return t, 0, errMarker
	case c == ':' && len(text) > 1 && (text[1] == '{' || isNameStart(text[1])):
		t.kind = parameter
		t.text, n, err = parameterName(text)
		return t, n, err
	case strings.HasPrefix(text, "::"):
		t.kind, n = other, 2
	case isNameStart(c):
		for n < len(text) && (isNamePart(text[n]) || text[n] == '$') {
			n++
		}
		t.kind = word
	case isDigit(c):
		for n < len(text) && (isNamePart(text[n]) || text[n] == '.') {
			n++
		}
		t.kind = number
	default:
		t.kind, n = other, 1
	}
	if n == 0 && err == nil {
		err = errUnfinished
	}
	t.text = text[:n]
	return t, n, err
}

func isBlank(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'
}
func isDigit(c byte) bool     { return c >= '0' && c <= '9' }
func isNameStart(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
func isNamePart(c byte) bool  { return isNameStart(c) || isDigit(c) }

// isComment reports whether text begins with a comment.
func isComment(lang language, text string) bool {
	switch {
	case strings.HasPrefix(text, "/*"):
		return true
	case strings.HasPrefix(text, "--"):
		return lang == postgres || len(text) == 2 || text[2] <= ' '
	}
	return text[0] == '#' && lang == mySQL
}

// comment returns the length of the comment with which text begins: 0 if it has no end.
func comment(lang language, text string) (int, error) {
	if text[0] != '/' {
		if n := strings.IndexByte(text, '\n'); n >= 0 {
			return n, nil
		}
		return len(text), nil
	}
	if lang == mySQL && (strings.HasPrefix(text, "/*!") || strings.HasPrefix(text, "/*M!")) {
		return 0, errExecuted
	}
	for depth, n := 1, 2; n < len(text); {
		switch {
		case strings.HasPrefix(text[n:], "*/"):
			n += 2
			if depth--; depth == 0 {
				return n, nil
			}
		case strings.HasPrefix(text[n:], "/*") && lang == postgres: // they nest
			n += 2
			depth++
		default:
			n++
		}
	}
	return 0, nil
}

// untilQuote returns the length of the text in quotes with which text begins: 0 if it has no end. A quote twice is one within it; escapes says
// that a backslash takes the meaning from what follows.
func untilQuote(text string, escapes bool) int {
	quote := text[0]
	for n := 1; n < len(text); n++ {
		switch {
		case text[n] == '\\' && escapes:
			n++
		case text[n] == quote && n+1 < len(text) && text[n+1] == quote:
			n++
		case text[n] == quote:
			return n + 1
		}
	}
	return 0
}

// dollar returns the length of the string in dollars, $TAG$…$TAG$, with which text begins: 1 if that is only a dollar, 0 if it has no end.
func dollar(text string) int {
	n := 1
	for n < len(text) && isNamePart(text[n]) {
		n++
	}
	if n == len(text) || text[n] != '$' || isDigit(text[1]) {
		return 1
	}
	tag := text[:n+1]
	end := strings.Index(text[len(tag):], tag)
	if end < 0 {
		return 0
	}
	return end + 2*len(tag)
}

// parameterName returns what a template has between its braces for the parameter with which text begins, and the parameter's length:
// :source, :topic[1], :payload.a["b c"][3]?, :{time:2006-01-02}.
func parameterName(text string) (name string, n int, err error) {
	if text[1] == '{' {
		end := closing(text[1:], '}')
		if end == 0 {
			return "", 0, errUnfinished
		}
		return text[2:end], end + 1, nil
	}
	n = 1
	for n < len(text) && isNamePart(text[n]) {
		n++
	}
	for n < len(text) {
		switch {
		case text[n] == '.' && n+1 < len(text) && isNameStart(text[n+1]):
			n++
			for n < len(text) && isNamePart(text[n]) {
				n++
			}
		case text[n] == '[':
			end := closing(text[n:], ']')
			if end == 0 {
				return "", 0, errUnfinished
			}
			n += end
		case text[n] == '?':
			return text[1 : n+1], n + 1, nil
		default:
			return text[1:n], n, nil
		}
	}
	return text[1:n], n, nil
}

// closing returns the length of what begins with a bracket, up to the one that closes it; 0 if there is none. A bracket in quotes is
// none.
func closing(text string, bracket byte) int {
	inQuotes := false
	for n := 1; n < len(text); n++ {
		switch c := text[n]; {
		case c == '"':
			inQuotes = !inQuotes
		case c == '\\' && inQuotes:
			n++
		case c == bracket && !inQuotes:
			return n + 1
		}
	}
	return 0
}
