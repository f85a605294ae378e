package config

import (
	"fmt"
	"io"
	"log/slog"
)

// Log configures the log. The zero value works.
type Log struct {
	Level  string `yaml:"level" help:"lowest level that is logged: debug, info, warn or error"`
	Format string `yaml:"format" help:"text or json"`
}

// WithDefaults returns l with the defaults in place of zero fields.
func (l Log) WithDefaults() Log {
	if l.Level == "" {
		l.Level = "info"
	}
	if l.Format == "" {
		l.Format = "text"
	}
	return l
}

// levels are the levels by their names in the file.
var levels = map[string]slog.Level{
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// Validate returns what is wrong with l, after WithDefaults. The error begins with the key.
func (l Log) Validate() error {
	if _, ok := levels[l.Level]; !ok {
		return fmt.Errorf("level: want debug, info, warn or error, not %q", l.Level)
	}
	if l.Format != "text" && l.Format != "json" {
		return fmt.Errorf("format: want text or json, not %q", l.Format)
	}
	return nil
}

// Logger returns a logger that writes to w what l, which must be valid, allows.
func (l Log) Logger(w io.Writer) *slog.Logger {
	l = l.WithDefaults()
	options := &slog.HandlerOptions{Level: levels[l.Level]}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
