package topic

import "strings"

// sharedPrefix is the prefix of shared subscriptions, $share/{group}/{filter}, §4.8.2.
const sharedPrefix = "$share/"

// IsShared reports whether filter is a shared subscription's.
func IsShared(filter string) bool { return strings.HasPrefix(filter, sharedPrefix) }

// Shared splits the filter of a shared subscription: rest is the filter that topics are
// matched with and permissions are checked with. For any other filter, rest is the filter itself and ok is
// false. It returns an *Error when the group or the rest is missing or invalid.
func Shared(filter string) (group, rest string, ok bool, err error) {
	if !IsShared(filter) {
		return "", filter, false, nil
	}
	group, rest, _ = strings.Cut(filter[len(sharedPrefix):], "/")
	switch {
	case group == "": // [MQTT-4.8.2-1]
		err = &Error{"shared filter", 2, "is empty: it must name the group"}
	case wildcard(group): // [MQTT-4.8.2-2]
		err = &Error{"shared filter", 2, "has a wildcard: it must name the group"}
	case rest == "": // [MQTT-4.8.2-2]
		err = &Error{"shared filter", 0, "has no filter after the group"}
	}
	return group, rest, true, err
}
