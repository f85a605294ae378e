package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/parser"

	"github.com/longline/longline/internal/setting"
)

// Set changes one option or section of c. key is its path, such as gateway.heartbeat, and contains the names of named
// sections. The value of an option is taken literally; the value of a list or a section is YAML, such as [a, b]. A list is
// replaced, the keys of a section are added to the existing ones. Errors name from in place of a file.
// The value comes from a command line, which everybody on the machine can read: Set refuses a secret itself.
func (c *Config) Set(from, key, value string) error {
	return set(reflect.ValueOf(c).Elem(), from, key, value, true)
}

func set(root reflect.Value, from, key, value string, public bool) error {
	d := newDecoder(from, nil)
	d.inline, d.public = true, public
	d.assign("", root, strings.Split(key, "."), value)
	return d.err()
}

// assign sets the option that keys lead to, starting at a section.
func (d *decoder) assign(path string, section reflect.Value, keys []string, value string) {
	if f, ok := d.find(path, section, keys[0], nil); ok {
		d.assignTo(f, keys[1:], value)
	}
}

func (d *decoder) assignTo(f field, rest []string, value string) {
	switch {
	case len(rest) == 0:
		d.assignValue(f, value)
	case f.section():
		d.assign(f.path, f.value, rest, value)
	case f.named() && setting.ValidName(rest[0]):
		entry := field{key: rest[0], path: below(f.path, rest[0]), value: f.entry(rest[0])}
		d.assignTo(entry, rest[1:], value)
		f.put(rest[0], entry.value)
	case f.named():
		d.fail(nil, f.path, badName(rest[0]))
	case f.texts() && rest[0] != "":
		f.put(strings.Join(rest, "."), reflect.ValueOf(value))
	default:
		d.fail(nil, f.path, fmt.Sprintf("this option has no keys below it, so no %q", strings.Join(rest, ".")))
	}
}

func (d *decoder) assignValue(f field, value string) {
	if !f.section() && f.value.Kind() != reflect.Map && f.value.Kind() != reflect.Slice {
		d.scalar(f, value, nil)
		return
	}
	if f.value.Kind() == reflect.Slice {
		f.value.SetZero()
	}
	file, err := parser.ParseBytes([]byte(value), 0)
	if err != nil || len(file.Docs) != 1 || file.Docs[0].Body == nil {
		d.fail(nil, f.path, "want YAML, such as [a, b] or {key: value}")
		return
	}
	d.value(f, file.Docs[0].Body)
}

// variable is the prefix of environment variables that set options.
const variable = "LONGLINE_"

// SetFrom changes c by the variables in an environment, as os.Environ returns it, that are named LONGLINE_ and a path in capitals
// with __ in place of the points, such as LONGLINE_GATEWAY__HEARTBEAT.
func (c *Config) SetFrom(environ []string) error {
	for _, each := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(each, "=")
		key, ours := strings.CutPrefix(name, variable)
		if !ours || !strings.Contains(key, "__") {
			continue
		}
		path := strings.ToLower(strings.ReplaceAll(key, "__", "."))
		if err := set(reflect.ValueOf(c).Elem(), "environment variable "+name, path, value, false); err != nil {
			return err
		}
	}
	return nil
}
