package config

import (
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/setting"
)

// field is one option or section of the file, as it is declared.
type field struct {
	key   string // in its section, such as heartbeat
	path  string // in the file, such as gateway.heartbeat
	help  string
	bytes bool // a number of bytes
	way   way  // of a secret
	value reflect.Value
}

// way is one of the keys by which a secret can be given: KEY itself, KEY_file and KEY_env.
type way string

const (
	inText way = ""
	inFile way = "_file"
	inEnv  way = "_env"
)

var wayHelp = map[way]string{
	inText: "; anyone who can read this file knows it",
	inFile: ", in the file of this name; white space around it is ignored; read again when it changes",
	inEnv:  ", in the environment variable of this name",
}

// inline is the key of a struct whose fields are those of the section that it is in.
const inline = ",inline"

// fields yields the fields of a section, in order of declaration. Fields without a key are not
// part of the file.
func fields(path string, section reflect.Value) iter.Seq[field] {
	return func(yield func(field) bool) {
		for i := range section.NumField() {
			tag := section.Type().Field(i).Tag
			key := tag.Get("yaml")
			switch key {
			case "", "-":
				continue
			case inline:
				for f := range fields(path, section.Field(i)) {
					if !yield(f) {
						return
					}
				}
				continue
			}
			f := field{
				key:   key,
				path:  below(path, key),
				help:  tag.Get("help"),
				bytes: tag.Get("unit") == "bytes",
				value: section.Field(i),
			}
			ways := []way{inText}
			if f.secret() {
				ways = []way{inText, inFile, inEnv}
			}
			for _, w := range ways {
				each := f
				if f.secret() {
					each.key, each.path, each.help, each.way = f.key+string(w), f.path+string(w), f.help+wayHelp[w], w
				}
				if !yield(each) {
					return
				}
			}
		}
	}
}

func below(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

var (
	durationType = reflect.TypeFor[time.Duration]()
	secretType   = reflect.TypeFor[setting.Secret]()
)

// secret reports whether f is a secret.
func (f field) secret() bool { return f.value.Type() == secretType }

// section reports whether f holds further fields.
func (f field) section() bool { return f.value.Kind() == reflect.Struct && !f.secret() }

// named reports whether f holds sections under names of their own.
func (f field) named() bool {
	return f.value.Kind() == reflect.Map && f.value.Type().Elem().Kind() == reflect.Struct
}

// texts reports whether f holds texts under keys of the file's own.
func (f field) texts() bool {
	return f.value.Kind() == reflect.Map && f.value.Type().Elem().Kind() == reflect.String
}

// sections reports whether f holds a list of sections.
func (f field) sections() bool {
	return f.value.Kind() == reflect.Slice && f.value.Type().Elem().Kind() == reflect.Struct
}

// sample returns a section, with its defaults, of the kind that f, which is named or sections, holds. A section that has defaults for parts which
// exclude each other has a method Sample, which returns it with all of them.
func (f field) sample() reflect.Value {
	v := reflect.New(f.value.Type().Elem()).Elem()
	for _, name := range []string{"WithDefaults", "Sample"} {
		if m := v.MethodByName(name); m.IsValid() {
			v.Set(m.Call(nil)[0])
		}
	}
	return v
}

// entry returns a copy of the section of that name, zero when there is none yet. f is named.
func (f field) entry(name string) reflect.Value {
	v := reflect.New(f.value.Type().Elem()).Elem()
	if old := f.value.MapIndex(reflect.ValueOf(name)); old.IsValid() {
		v.Set(old)
	}
	return v
}

// put stores a section or a text under that name in f, which is named or texts.
func (f field) put(name string, section reflect.Value) {
	if f.value.IsNil() {
		f.value.Set(reflect.MakeMap(f.value.Type()))
	}
	f.value.SetMapIndex(reflect.ValueOf(name), section)
}

// names returns the names of the sections or texts that f holds, sorted.
func (f field) names() []reflect.Value {
	names := f.value.MapKeys()
	slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	return names
}

// find returns the field of that key.
func find(path string, section reflect.Value, key string) (field, bool) {
	for f := range fields(path, section) {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

// keys lists the keys of a section, for errors.
func keys(section reflect.Value) string {
	var list []string
	for f := range fields("", section) {
		list = append(list, f.key)
	}
	return strings.Join(list, ", ")
}

// hasSecrets reports whether a section has secrets of its own.
func hasSecrets(section reflect.Value) bool {
	for f := range fields("", section) {
		if f.secret() {
			return true
		}
	}
	return false
}
