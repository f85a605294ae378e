package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Set gives the option at path, such as gateway.heartbeat, the value that text says.
func (c *Config) Set(path, text string) error {
	section := reflect.ValueOf(c).Elem()
	keysOf := strings.Split(path, ".")
	for i, key := range keysOf {
		f, ok := find(strings.Join(keysOf[:i], "."), section, key)
		switch {
		case !ok:
			return &KeyError{path, fmt.Sprintf("there is no key %q; there are %s", key, keys(section))}
		case i < len(keysOf)-1 && f.section():
			section = f.value
			continue
		case f.section() || i < len(keysOf)-1:
			return &KeyError{path, "is not one option"}
		}
		if err := f.set(text); err != nil {
			return &KeyError{path, fmt.Sprintf("%v, not %q", err, text)}
		}
	}
	return nil
}
