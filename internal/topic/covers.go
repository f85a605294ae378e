package topic

import "strings"

// Covers reports whether wide matches every name that narrow matches: whoever may subscribe to
// wide may subscribe to narrow. Both must be valid filters.
func Covers(wide, narrow string) bool {
	if reserved(narrow) && wildFirst(wide) {
		return false // §4.7.2: a leading wildcard does not match $ names
	}
	if narrow == "#" { // every name has a first level
		return wide == "#" || wide == "+/#"
	}
	return coversLevels(wide, narrow)
}

// coversLevels is Covers from a later level on, where '$' has no meaning and '#' also matches no
// level.
func coversLevels(wide, narrow string) bool {
	for wide != "#" {
		want, wideRest, wideMore := strings.Cut(wide, "/")
		level, narrowRest, narrowMore := strings.Cut(narrow, "/")
		switch {
		case level == "#", want != "+" && want != level:
			return false
		case !narrowMore: // §4.7.1.2: "sport/#" also matches "sport"
			return !wideMore || wideRest == "#"
		case !wideMore:
			return false
		}
		wide, narrow = wideRest, narrowRest
	}
	return true
}
