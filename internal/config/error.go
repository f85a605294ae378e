package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// Error says where a file is wrong and what is wrong there.
type Error struct {
	File   string
	Line   int    // from 1; 0 when it is not about one place
	Column int    // from 1, in characters
	Key    string // such as gateway.heartbeat; empty when it is not about one
	Msg    string
	Source string // the line
}

// Error has the form of compilers, and the line with a mark below it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Msg)
	if e.Line > 0 {
		fmt.Fprintf(&b, "\n%5d | %s\n      | %*s", e.Line, e.Source, e.Column, "^")
	}
	return b.String()
}

// fail notes what is wrong at a token, nil when it is about no place of the file.
func (d *decoder) fail(at *token.Token, key, msg string) {
	e := &Error{File: d.name, Key: key, Msg: msg}
	if at != nil && at.Position != nil {
		e.Line, e.Column = max(1, at.Position.Line), max(1, at.Position.Column)
		if e.Line <= len(d.lines) {
			e.Source = d.lines[e.Line-1]
		}
	}
	d.errs = append(d.errs, e)
}

// splitLines makes lines in which every character has the width of one.
func splitLines(text []byte) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\t", " ").Replace(string(text)), "\n")
}
