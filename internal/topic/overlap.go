package topic

import "strings"

// Overlap reports whether some topic name matches both filters, which must be valid.
func Overlap(a, b string) bool {
	if reserved(a) != reserved(b) && (wildFirst(a) || wildFirst(b)) {
		return false // MQTT 5 §4.7.2: a leading wildcard does not match $ topics
	}
	for {
		x, restA, moreA := strings.Cut(a, "/")
		y, restB, moreB := strings.Cut(b, "/")
		switch {
		case x == "#" || y == "#":
			return true
		case x != y && x != "+" && y != "+":
			return false
		case !moreA && !moreB:
			return true
		case !moreA:
			return restB == "#" // §4.7.1.2: "sport/#" matches "sport"
		case !moreB:
			return restA == "#"
		}
		a, b = restA, restB
	}
}

func wildFirst(filter string) bool { return filter[0] == '+' || filter[0] == '#' }
