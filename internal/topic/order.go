package topic

import (
	"cmp"
	"strings"
)

// Compare orders names by their levels, so that all names below a name follow it directly: '/' sorts
// before every other byte.
func Compare(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

// First returns a name that is not after any match of a valid filter, in the order of Compare.
func First(filter string) string {
	for i := 0; i < len(filter); {
		level, _, more := strings.Cut(filter[i:], "/")
		if level == "+" || level == "#" {
			return filter[:max(0, i-1)]
		}
		if !more {
			break
		}
		i += len(level) + 1
	}
	return filter
}

// Following returns the least string after name, in the order of Compare.
func Following(name string) string { return name + "/" }

// Seek reports whether a valid filter matches a name, and where the next match may be in the
// order of Compare: not before next; if next is empty, directly after name; nowhere if more is
// false.
func Seek(filter, name string) (match bool, next string, more bool) {
	if reserved(name) && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false, "%", true // which sorts after all names that begin with '$'
	}
	wild := -1 // where the last level of name ends that a '+' matches
	for at := 0; ; {
		want, rest, moreFilter := strings.Cut(filter, "/")
		level, _, moreName := strings.Cut(name[at:], "/")
		end := at + len(level)
		switch {
		case want == "#":
			return true, "", true
		case want == "+":
			wild = end
		case level < want:
			return false, name[:at] + want, true
		case level > want:
			return behind(name, wild)
		}
		switch {
		case !moreFilter && !moreName:
			return true, "", wild >= 0
		case !moreFilter && want == "+":
			return behind(name, end)
		case !moreFilter:
			return behind(name, wild)
		case !moreName: // §4.7.1.2: '#' includes the parent
			return rest == "#", "", true
		}
		filter, at = rest, end+1
	}
}

// behind seeks the first name after all names below name[:wild]; there is none when wild is negative.
func behind(name string, wild int) (match bool, next string, more bool) {
	if wild < 0 {
		return false, "", false
	}
	return false, name[:wild] + "\x00", true // no name contains it, §1.5.4
}
