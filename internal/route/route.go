package route

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/google/cel-go/cel"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/reload"
)

// Options are what a Route needs besides its Config.
type Options struct {
	Watcher *reload.Watcher // reads schemas and secrets in files again when they change
	Log     *slog.Logger    // nil logs nothing
	Offline bool            // see format.Options
}

// Route applies a Config to messages. It is safe for many goroutines at once, each with its own View. All fields are static.
type Route struct {
	where cel.Program // nil for all messages
	set   []change
	drop  [][]string
	in    format.Format // nil: that of the content type
	out   format.Format // nil: as it came
}

// change is a field that is set to a value or, if there is a template, to what this makes.
type change struct {
	path     []string
	value    any
	template *Template
}

// Open makes the route of c, which is valid and has its defaults. It reads files and contacts nobody. An error begins with the key.
func Open(c Config, o Options) (*Route, error) {
	r, errs := c.compile()
	if len(errs) > 0 {
		return nil, errs[0]
	}
	for _, f := range []struct {
		key    string
		config format.Config
		format *format.Format
	}{{"payload", c.Payload, &r.in}, {"format", c.Format, &r.out}} {
		if !f.config.Given() {
			continue
		}
		var err error
		if *f.format, err = format.Open(f.config, format.Options{Watcher: o.Watcher, Log: o.Log, Offline: o.Offline}); err != nil {
			return nil, fmt.Errorf("%s.%w", f.key, err)
		}
	}
	return r, nil
}

// Apply reports whether the message of v goes there, and if so makes the route's changes to v. First where is asked about the message as it came;
// then all that set needs of it is taken, then set, and at last drop. An error is about this message alone, unless it wraps
// format.ErrAway; also that where cannot be evaluated, because it names a field that the payload does not have, is such an error.
func (r *Route) Apply(v *View) (keep bool, err error) {
	v.route = r
	if r.where != nil {
		if keep, err = holds(r.where, v); !keep || err != nil {
			return false, err
		}
	}
	if err := r.change(v); err != nil {
		return false, err
	}
	return true, nil
}

// change sets and drops fields.
func (r *Route) change(v *View) error {
	defer func() {
		clear(v.values)
		v.values = v.values[:0]
	}()
	v.work = 0
	for i := range r.set {
		x, err := r.set[i].of(v)
		if err != nil {
			return fmt.Errorf("set: %w", err)
		}
		v.values = append(v.values, x)
	}
	for i := range r.set {
		if err := v.Set(r.set[i].path, v.values[i]); err != nil {
			return err
		}
	}
	for _, path := range r.drop {
		if err := v.drop(path); err != nil {
			return err
		}
	}
	return nil
}

// of returns what the field is set to for the message of v.
func (c *change) of(v *View) (any, error) {
	if c.template == nil {
		return c.value, nil
	}
	x, err := c.template.Value(v)
	if t, ok := x.(time.Time); ok {
		return t.Format(timeLayout), nil
	}
	return x, err
}
