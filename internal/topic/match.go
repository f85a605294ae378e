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

// matchLevels is Match from a later level on, where '$' has no meaning.
func matchLevels(filter, topic string) bool {
	for i, j := 0, 0; ; i, j = i+1, j+1 { // where a level begins in each
		switch {
		case i == len(filter) || filter[i] != '#' && filter[i] != '+':
			for ; i < len(filter) && filter[i] != '/'; i, j = i+1, j+1 {
				if j == len(topic) || topic[j] != filter[i] {
					return false
				}
			}
			if j < len(topic) && topic[j] != '/' {
				return false
			}
		case filter[i] == '#':
			return true
		default:
			for i++; j < len(topic) && topic[j] != '/'; j++ {
			}
		}
		switch {
		case j == len(topic): // §4.7.1.2: "sport/#" also matches "sport"
			return i == len(filter) || filter[i:] == "/#"
		case i == len(filter):
			return false
		}
	}
}
