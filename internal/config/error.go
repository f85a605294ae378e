package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// Error says where a file is wrong, and what is wrong.
type Error struct {
	File   string
	Line   int    // from 1; 0 when the error has no place
	Column int    // from 1, in characters
	Key    string // such as gateway.heartbeat; empty when the error is about no option
	Msg    string
	Source string // the line; empty when it may hold a secret
}

// Error returns the message in the form of compilers, and the line with a mark below it.
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
	if e.Source != "" {
		fmt.Fprintf(&b, "\n%5d | %s\n      | %*s", e.Line, e.Source, e.Column, "^")
	}
	return b.String()
}

// fail adds an error at a token; nil stands for no place in the file.
func (d *decoder) fail(at *token.Token, key, msg string) {
	e := &Error{File: d.name, Key: key, Msg: msg}
	if at != nil && at.Position != nil && !d.inline {
		e.Line, e.Column = max(1, at.Position.Line), max(1, at.Position.Column)
		if e.Line <= len(d.lines) {
			e.Source = d.lines[e.Line-1]
		}
	}
	d.errs = append(d.errs, e)
}

// err joins the errors, without the lines that may hold a secret.
func (d *decoder) err() error {
	all := make([]error, len(d.errs))
	for i, e := range d.errs {
		if d.hidden[e.Line] || d.secretKey != nil && d.secretKey.MatchString(e.Source) {
			e.Source = ""
		}
		all[i] = e
	}
	return errors.Join(all...)
}

// hide keeps the lines of a token out of errors.
func (d *decoder) hide(at *token.Token) {
	if at == nil || at.Position == nil {
		return
	}
	lines := strings.Count(at.Origin, "\n") + strings.Count(at.Value, "\n")
	for i := range lines + 2 { // its position may be that of its last line, or of a mark before it
		d.hidden[at.Position.Line+i], d.hidden[at.Position.Line-i] = true, true
	}
}

// secretKeys matches lines with the key of a secret that is in or below a section.
func secretKeys(section reflect.Type) *regexp.Regexp {
	return regexp.MustCompile(`\b(` + strings.Join(append(secretNames(section), "secret"), "|") + `)\b`)
}

// secretNames returns the keys of all secrets in and below a section.
func secretNames(section reflect.Type) (all []string) {
	for f := range fields("", reflect.New(section).Elem()) {
		switch {
		case f.secret() && f.way == inText:
			all = append(all, f.key)
		case f.section():
			all = append(all, secretNames(f.value.Type())...)
		case f.named(), f.sections():
			all = append(all, secretNames(f.value.Type().Elem())...)
		}
	}
	return all
}

// splitLines splits text into lines in which every character has a width of one.
func splitLines(text []byte) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\t", " ").Replace(string(text)), "\n")
}
