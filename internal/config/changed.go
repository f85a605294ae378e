package config

import (
	"reflect"
	"slices"
)

// Changed returns the keys of the sections in which a and b differ, but for those that except names.
func Changed(a, b Config, except ...string) (keys []string) {
	before, after := reflect.ValueOf(a), reflect.ValueOf(b)
	for f := range fields("", after) {
		old, _ := find("", before, f.key)
		if !slices.Contains(except, f.key) && !reflect.DeepEqual(old.value.Interface(), f.value.Interface()) {
			keys = append(keys, f.key)
		}
	}
	return keys
}
