// Package route has what a configuration says about the messages on their way to a system behind: which of them go there, which fields
// of their payloads change, in which format they leave, and the texts that are made of them, such as a topic or a key. It contacts nobody,
// except for a schema registry that a format names.
package route

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/setting"
)

// Config is the part of a sink's section that is the same for all sinks.
type Config struct {
	Where   string            `yaml:"where" help:"which messages go there, as an expression in CEL such as payload.t > 20; left out, all"`
	Set     map[string]string `yaml:"set" help:"fields of the payload that are set, by their paths: a value in JSON, or a template such as {topic[1]}"`
	Drop    []string          `yaml:"drop" help:"fields of the payload that are removed, after set, by their paths such as a.b"`
	Payload format.Config     `yaml:"payload" help:"the format of the payloads that devices send; left out, the one of their content type, or JSON"`
	Format  format.Config     `yaml:"format" help:"the format in which payloads leave; left out, as they came"`
}

var _ setting.Section[Config] = Config{}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Payload, c.Format = c.Payload.WithDefaults(), c.Format.WithDefaults()
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	_, errs := c.compile()
	for key, f := range map[string]format.Config{"payload": c.Payload, "format": c.Format} {
		for _, err := range setting.Errors(f.Validate()) {
			errs = append(errs, fmt.Errorf("%s.%w", key, err))
		}
	}
	return errors.Join(errs...)
}

// maxChanges bounds the fields of one kind that a route changes.
const maxChanges = 256

// compile returns the route of c without its formats.
func (c Config) compile() (r *Route, errs []error) {
	r = new(Route)
	if c.Where != "" {
		where, err := compileWhere(c.Where)
		if err != nil {
			errs = append(errs, fmt.Errorf("where: %w", err))
		}
		r.where = where
	}
	if len(c.Set) > maxChanges {
		errs = append(errs, fmt.Errorf("set: want at most %d fields", maxChanges))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		s, err := parseSetting(name, c.Set[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("set%s: %w", under(name), err))
		}
		r.set = append(r.set, s)
	}
	if len(c.Drop) > maxChanges {
		errs = append(errs, fmt.Errorf("drop: want at most %d fields", maxChanges))
	}
	for _, name := range c.Drop {
		path, err := parseNames(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("drop: %q: %w", name, err))
		}
		r.drop = append(r.drop, path)
	}
	return r, errs
}

// under returns name as the rest of a key, if it can be one.
func under(name string) string {
	if strings.ContainsAny(name, " \t\n:") {
		return ""
	}
	return "." + name
}

// parseSetting parses a field that is set, and what to.
func parseSetting(name, text string) (s change, err error) {
	if s.path, err = parseNames(name); err != nil {
		return s, fmt.Errorf("field %q: %w", name, err)
	}
	if x, ok := parseLiteral(text); ok {
		s.value = x
		return s, nil
	}
	t, err := ParseTemplate(text)
	if err != nil {
		return s, err
	}
	for _, p := range t.parts {
		if p.kind == isPayload {
			return s, errors.New("{payload} is the whole payload as it leaves, which is not known yet: want a field of it such as {payload.a}")
		}
	}
	s.template = &t
	return s, nil
}

// parseLiteral parses a value in JSON, and reports whether text is one.
func parseLiteral(text string) (x any, ok bool) {
	var t format.Tree
	if err := jsonFormat().Decode(&t, []byte(text)); err != nil {
		return nil, false
	}
	return t.Root().Any(), true
}
