package config

import (
	"iter"
	"reflect"
	"strings"
	"time"
)

// field is one option or section of the file, as its declaration says.
type field struct {
	key   string // in its section, such as heartbeat
	path  string // in the file, such as gateway.heartbeat
	help  string
	bytes bool // a number of bytes
	value reflect.Value
}

// fields yields those of a section, in order of declaration. Fields without a key are not
// part of the file.
func fields(path string, section reflect.Value) iter.Seq[field] {
	return func(yield func(field) bool) {
		for i := range section.NumField() {
			tag := section.Type().Field(i).Tag
			key := tag.Get("yaml")
			if key == "" || key == "-" {
				continue
			}
			f := field{
				key:   key,
				path:  strings.TrimPrefix(path+"."+key, "."),
				help:  tag.Get("help"),
				bytes: tag.Get("unit") == "bytes",
				value: section.Field(i),
			}
			if !yield(f) {
				return
			}
		}
	}
}

// section tells whether f holds further fields.
func (f field) section() bool { return f.value.Kind() == reflect.Struct }

var durationType = reflect.TypeFor[time.Duration]()

// find returns the field of that key.
func find(path string, section reflect.Value, key string) (field, bool) {
	for f := range fields(path, section) {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

// keys lists those of a section, for people.
func keys(section reflect.Value) string {
	var list []string
	for f := range fields("", section) {
		list = append(list, f.key)
	}
	return strings.Join(list, ", ")
}
