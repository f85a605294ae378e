// Package setting has the types of options that are not plain values: secrets, named sections of one kind,
// and lists of sections. Package config reads them.
package setting

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"

	"github.com/longline/longline/internal/reload"
)

// Secret is a text that must not be shown, or the name of a file that contains it. fmt, slog and encoding/json
// show that there is one, but not its text. The zero value is no secret. In the configuration an option KEY of this type can
// also be given as KEY_file or KEY_env.
type Secret struct {
	text *string // a pointer: in unexported fields, where fmt does not call Format, it shows an address
	file string
}

// NewSecret returns a Secret with this text; an empty text is no secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// SecretFile returns a Secret whose text is in a file; an empty name is no secret.
func SecretFile(name string) Secret { return Secret{file: name} }

// Given reports whether there is a secret.
func (s Secret) Given() bool { return s.text != nil || s.file != "" }

// File returns the name of the file that contains the secret, or an empty string.
func (s Secret) File() string { return s.file }

// Follow returns a function that returns the secret, or nothing if there is none. A secret in a file is the file's current content
// without white space around it: w reads the file again when it changes. check, unless nil, returns what is wrong with a
// secret. reveal is safe from any goroutine, and nobody may change its result.
func (s Secret) Follow(w *reload.Watcher, check func(secret []byte) error) (reveal func() []byte, err error) {
	parse := func(text []byte) ([]byte, error) {
		text = bytes.TrimSpace(text)
		if check != nil {
			return text, check(text)
		}
		return text, nil
	}
	if s.file != "" {
		f, err := reload.Open(w, s.file, parse)
		if err != nil {
			return nil, err
		}
		return f.Get, nil
	}
	var text []byte
	if s.text != nil {
		if text, err = parse([]byte(*s.text)); err != nil {
			return nil, err
		}
	}
	return func() []byte { return text }, nil
}

const hidden = "(secret)"

// String implements fmt.Stringer: it never returns the secret.
func (s Secret) String() string {
	switch {
	case s.text != nil:
		return hidden
	case s.file != "":
		return "(secret in " + s.file + ")"
	}
	return ""
}

// Format implements fmt.Formatter for every verb and flag.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler, for encoding/json and others.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
