package setting

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Section is the interface of a section of the configuration.
type Section[S any] interface {
	// WithDefaults returns the section with the defaults in place of zero fields.
	WithDefaults() S
	// Validate returns what is wrong with the section, after WithDefaults. The error begins with the key.
	Validate() error
}

// Named is any number of sections of one kind, each under a name of its own: 1 to 64 of A-Z a-z 0-9 _ -.
type Named[S Section[S]] map[string]S

// WithDefaults returns n with each section's defaults.
func (n Named[S]) WithDefaults() Named[S] {
	full := maps.Clone(n)
	for name, s := range full {
		full[name] = s.WithDefaults()
	}
	return full
}

// Validate joins the sections' errors, in the order of their names. Each error begins with the name.
func (n Named[S]) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(n)) {
		if !ValidName(name) {
			errs = append(errs, fmt.Errorf("%s: %w", strconv.Quote(name), errName))
			continue
		}
		errs = append(errs, under(name, n[name].Validate())...)
	}
	return errors.Join(errs...)
}

// List is any number of sections of one kind, in order.
type List[S Section[S]] []S

// WithDefaults returns l with each section's defaults.
func (l List[S]) WithDefaults() List[S] {
	full := slices.Clone(l)
	for i, s := range full {
		full[i] = s.WithDefaults()
	}
	return full
}

// Validate joins the sections' errors. Each error begins with the number of its section, from 0.
func (l List[S]) Validate() error {
	var errs []error
	for i, s := range l {
		errs = append(errs, under(strconv.Itoa(i), s.Validate())...)
	}
	return errors.Join(errs...)
}

// under puts name in front of the key of each error that err joins.
func under(name string, err error) (errs []error) {
	for _, e := range Errors(err) {
		errs = append(errs, fmt.Errorf("%s.%w", name, e))
	}
	return errs
}

// Errors returns the errors that err joins, or err alone; none for nil.
func Errors(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

var errName = errors.New("want a name of 1 to 64 of A-Z a-z 0-9 _ -")

// ValidName reports whether name may be the name of a section, and so a part of a key.
func ValidName(name string) bool {
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return false
		}
	}
	return len(name) > 0 && len(name) <= 64
}
