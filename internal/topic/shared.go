package topic

import "strings"

// sharedPrefix begins the filter of a shared subscription, $share/{group}/{filter}, §4.8.2.
const sharedPrefix = "$share/"

// IsShared tells whether filter is that of a shared subscription.
func IsShared(filter string) bool { return strings.HasPrefix(filter, sharedPrefix) }

// Shared takes the filter of a shared subscription apart: rest is the filter that topics are
// matched with, and that permissions are about. Any other filter is its own rest, and ok is
// false. It returns an *Error when the group or the rest is not there, or the group not one.
func Shared(filter string) (group, rest string, ok bool, err error) {
	if !IsShared(filter) {
		return "", filter, false, nil
	}
	group, rest, _ = strings.Cut(filter[len(sharedPrefix):], "/")
	switch {
	case group == "": // [MQTT-4.8.2-1]
		err = &Error{"shared filter", 2, "is empty: it names the group"}
	case wildcard(group): // [MQTT-4.8.2-2]
		err = &Error{"shared filter", 2, "has a wildcard: it names the group"}
	case rest == "": // [MQTT-4.8.2-2]
		err = &Error{"shared filter", 0, "has no filter after the group"}
	}
	return group, rest, true, err
}
