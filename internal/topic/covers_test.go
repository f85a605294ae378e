package topic

import (
	"strings"
	"testing"
)

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		wide, narrow string
		want         bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/c", false},
		{"a/b", "a/+", false},
		{"a/+", "a/b", true},
		{"a/+", "a/+", true},
		{"a/+", "a/#", false},
		{"a/+", "a/b/c", false},
		{"a/+", "a", false},
		{"a/#", "a/#", true},
		{"a/#", "a/+/c/#", true},
		{"a/#", "a", true},
		{"a/#", "#", false},
		{"a/#", "+/#", false},
		{"a/+/#", "a/#", false}, // "a"
		{"a/+/#", "a/b/#", true},
		{"a/+/c", "a/b/+", false},
		{"+/#", "#", true},
		{"#", "+/#", true},
		{"+", "#", false},
		{"+/+/#", "#", false},
		{"#", "+/a", true},
		{"#", "$a/b", false},
		{"+/b", "$a/b", false},
		{"$a/#", "$a/+", true},
		{"$a/+", "+/b", false},
		{"a/", "a", false},
		{"a/+", "a/", true},
	} {
		if got := Covers(tt.wide, tt.narrow); got != tt.want {
			t.Errorf("Covers(%q, %q): %v", tt.wide, tt.narrow, got)
		}
	}
}

// names are all names of up to four levels of an alphabet in which "z" is in no filter: they
// distinguish any two filters of three levels. They include the empty name, which Match treats as
// one empty level.
func names() []string {
	last, all := []string{""}, []string{}
	for range 4 {
		var next []string
		for _, prefix := range last {
			for _, level := range []string{"a", "b", "", "$c", "z"} {
				next = append(next, prefix+level+"/")
			}
		}
		for _, name := range next {
			all = append(all, strings.TrimSuffix(name, "/"))
		}
		last = next
	}
	return all
}

// FuzzCovers compares Covers with its definition: no name matches narrow but not wide,
// and if Covers returns false there is such a name.
func FuzzCovers(f *testing.F) {
	f.Add(byte(0), byte(0), byte(1), byte(2))
	f.Add(byte(0xff), byte(0x17), byte(0x81), byte(3))
	f.Add(byte(7<<2), byte(1), byte(5<<2|1), byte(0xf))
	all := names()
	f.Fuzz(func(t *testing.T, a, b, c, d byte) {
		wide, narrow := path(a&^3|a%3, b, filterLevels), path(c&^3|c%3, d, filterLevels)
		if ValidateFilter(wide, Limits{}) != nil || ValidateFilter(narrow, Limits{}) != nil {
			return
		}
		if strings.Contains(wide+narrow, "ab") { // not in the alphabet of names
			return
		}
		want := true
		for _, name := range all {
			want = want && (!Match(narrow, name) || Match(wide, name))
		}
		if got := Covers(wide, narrow); got != want {
			t.Fatalf("Covers(%q, %q): %v, want %v", wide, narrow, got, want)
		}
	})
}
