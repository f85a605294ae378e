package setting

import (
	"fmt"
	"reflect"
	"strings"
)

// Kind is one of several sections of a Config, of which one is given. O is what opening it needs, and T what is opened.
type Kind[O, T any] struct {
	Key         string
	Given       bool // the configuration says something about it
	SetDefaults func()
	Validate    func() error
	Open        func(O) (T, error)
}

// KindOf returns the kind whose section is c.
func KindOf[C Section[C], O, T any](key string, c *C, open func(C, O) (T, error)) Kind[O, T] {
	return Kind[O, T]{
		Key:         key,
		Given:       !reflect.ValueOf(c).Elem().IsZero(),
		SetDefaults: func() { *c = (*c).WithDefaults() },
		Validate:    func() error { return (*c).Validate() },
		Open:        func(o O) (T, error) { return open(*c, o) },
	}
}

// Only returns the kind that is given. The error, if there is none or if there are several, begins with a key; missing says what nothing says without one.
func Only[O, T any](all []Kind[O, T], missing string) (only Kind[O, T], err error) {
	var keys, given []string
	for _, k := range all {
		keys = append(keys, k.Key)
		if k.Given {
			given = append(given, k.Key)
			only = k
		}
	}
	switch len(given) {
	case 0:
		return only, fmt.Errorf("%s: nothing says %s: want one of %s", keys[0], missing, strings.Join(keys, ", "))
	case 1:
		return only, nil
	}
	return Kind[O, T]{}, fmt.Errorf("%s: want one of %s, not several", given[1], strings.Join(given, ", "))
}
