package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestShared(t *testing.T) {
	for _, test := range []struct {
		filter, group, rest string
		shared, valid       bool
	}{
		{"a/b", "", "a/b", false, true},
		{"$share", "", "$share", false, true},
		{"$shared/g/a", "", "$shared/g/a", false, true},
		{"$share/g/a", "g", "a", true, true},
		{"$share/g/a/+/#", "g", "a/+/#", true, true},
		{"$share/g//", "g", "/", true, true},
		{"$share/g//a", "g", "/a", true, true},
		{"$share/g/$presence/+", "g", "$presence/+", true, true},
		{"$share/", "", "", true, false},
		{"$share//a", "", "a", true, false},
		{"$share/g", "g", "", true, false},
		{"$share/g/", "g", "", true, false},
		{"$share/+/a", "+", "a", true, false},
		{"$share/g#/a", "g#", "a", true, false},
		{"$share/#", "#", "", true, false},
	} {
		group, rest, shared, err := Shared(test.filter)
		if group != test.group || rest != test.rest || shared != test.shared {
			t.Errorf("%q: group %q, rest %q, %t", test.filter, group, rest, shared)
		}
		if (err == nil) != test.valid {
			t.Errorf("%q: %v", test.filter, err)
		}
		if err := ValidateFilter(test.filter, Limits{}); (err == nil) != test.valid {
			t.Errorf("ValidateFilter %q: %v", test.filter, err)
		}
	}
}

// The group's two levels do not count towards the depth, but they count in the position of an error.
func TestValidateSharedFilter(t *testing.T) {
	for filter, want := range map[string]string{
		"$share/g/a/b":     "",
		"$share/g/a/b/c":   "filter has more than 4 levels",
		"$share/g/a/#b":    "filter level 4 mixes a wildcard with other characters",
		"$share/g\x00/a":   "filter level 2 has a NUL character",
		"$share/g\xff/a":   "filter level 2 is not valid UTF-8",
		"$share/group/abc": "filter is longer than 14 bytes",
	} {
		err := ValidateFilter(filter, Limits{Depth: 2, Length: 14})
		if got := text(err); got != want {
			t.Errorf("%q: %q, want %q", filter, got, want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// An accepted group and filter are found again, and the filter is valid by itself.
func FuzzShared(f *testing.F) {
	for _, s := range []string{"a", "$share/g/a", "$share/g/", "$share//a", "$share/g/+/#", "$share/+/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		group, rest, shared, err := Shared(filter)
		var wrong *Error
		switch {
		case err != nil && !errors.As(err, &wrong):
			t.Errorf("%q: %v is no *Error", filter, err)
		case err != nil && ValidateFilter(filter, Limits{}) == nil:
			t.Errorf("%q is valid in spite of %v", filter, err)
		case err != nil:
		case !shared && rest != filter, shared && "$share/"+group+"/"+rest != filter:
			t.Errorf("%q became %q and %q", filter, group, rest)
		case shared && (group == "" || strings.ContainsAny(group, "/+#")):
			t.Errorf("%q has the group %q", filter, group)
		case ValidateFilter(filter, Limits{}) == nil && shared && validate("", rest, Limits{}, filterLevel) != nil:
			t.Errorf("%q is valid, its rest is not", filter)
		}
	})
}
