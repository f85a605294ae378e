package topic

import "strings"

// Match reports whether a valid filter matches a valid name, MQTT 5 §4.7. It is the
// reference for Index.
func Match(filter, topic string) bool {
	if reserved(topic) && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	return matchLevels(filter, topic)
}

// reserved reports whether a name is not matched by filters that start with a wildcard, §4.7.2.
func reserved(topic string) bool { return strings.HasPrefix(topic, "$") }

// matchLevels is Match from a later level on, where '$' has no meaning. It compares whole levels, because a device may have 1000 filters
// that differ from a long name in the last byte.
func matchLevels(filter, topic string) bool {
	for {
		want, filters, more := strings.Cut(filter, "/")
		n := len(want) // of the topic's level
		switch want {
		case "#":
			return true
		case "+":
			if n = strings.IndexByte(topic, '/'); n < 0 {
				n = len(topic)
			}
		default:
			if !strings.HasPrefix(topic, want) {
				return false
			}
		}
		switch levels := topic[n:]; {
		case levels == "": // §4.7.1.2: "sport/#" also matches "sport"
			return !more || filters == "#"
		case levels[0] != '/' || !more:
			return false
		default:
			filter, topic = filters, levels[1:]
		}
	}
}
