package topic

import (
	"cmp"
	"slices"
	"testing"
)

var ordered = []string{"/", "//", "/a", "#x", "$", "$/a", "$SYS/a", "$SYS/b/c", "a", "a/", "a/a", "a/a/a", "a/a/b", "a/b", "a/b/a", "a/c/a", "a-b", "a-b/a", "ab", "b", "b/a", "b/b/a/c", "b/b/b"}

func TestCompare(t *testing.T) {
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := Compare(a, b), cmp.Compare(i, j); got != want {
				t.Errorf("Compare(%q, %q) is %d, want %d", a, b, got, want)
			}
		}
	}
}

// walk finds the matches of a filter by Seek, and counts the names that it visits.
func walk(names []string, filter string) (found []string, looked int) {
	at := First(filter)
	for {
		i, _ := slices.BinarySearchFunc(names, at, Compare)
		if i == len(names) {
			return found, looked
		}
		looked++
		match, next, more := Seek(filter, names[i])
		if match {
			found = append(found, names[i])
		}
		if !more {
			return found, looked
		}
		if at = next; at == "" {
			at = Following(names[i])
		}
	}
}

func TestSeek(t *testing.T) {
	for filter, looks := range map[string]int{
		"a": 1, "a/b": 1, "a/#": 9, "a/+": 9, "+": 10, "#": 20, "+/a": 14, "a/+/a": 9, "a/+/b": 9, "+/b/#": 20, "$SYS/#": 3, "$SYS/+": 3,
		"/": 1, "/+": 5, "+/+": 20, "/#": 5, "c/#": 0, "a/a/a/a": 1, "b/+/b": 4, "nothing": 0,
	} {
		var want []string
		for _, name := range ordered {
			if Match(filter, name) {
				want = append(want, name)
			}
		}
		found, looked := walk(ordered, filter)
		if !slices.Equal(found, want) {
			t.Errorf("%q finds %q, want %q", filter, found, want)
		}
		if looked > looks {
			t.Errorf("%q looks at %d names, want at most %d", filter, looked, looks)
		}
	}
}

// Names that cannot match are skipped, however many there are.
func FuzzSeek(f *testing.F) {
	for _, filter := range []string{"a/+/#", "+/+", "#", "$SYS/+", "/+/b"} {
		for _, name := range ordered {
			f.Add(filter, name, "a/b")
		}
	}
	f.Fuzz(func(t *testing.T, filter, one, other string) {
		l := Limits{}
		if ValidateFilter(filter, l) != nil || IsShared(filter) || ValidateName(one, l) != nil || ValidateName(other, l) != nil {
			return
		}
		match, next, more := Seek(filter, one)
		if match != Match(filter, one) {
			t.Fatalf("Seek(%q, %q) says %t", filter, one, match)
		}
		if next != "" && Compare(next, one) <= 0 {
			t.Fatalf("Seek(%q, %q) goes back to %q", filter, one, next)
		}
		if !Match(filter, other) {
			return
		}
		if Compare(other, First(filter)) < 0 {
			t.Fatalf("%q matches %q, before %q", filter, other, First(filter))
		}
		if Compare(other, one) > 0 && (!more || next != "" && Compare(other, next) < 0) {
			t.Fatalf("Seek(%q, %q) passes %q over: %q, %t", filter, one, other, next, more)
		}
	})
}
