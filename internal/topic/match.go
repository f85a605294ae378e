package topic

import "strings"

// Match tells whether a valid filter matches a valid name, MQTT 5 §4.7. It is the
// reference for Index and Map.
func Match(filter, topic string) bool {
	if reserved(topic) && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	return matchLevels(filter, topic)
}

// reserved names are not matched by a filter that starts with a wildcard, §4.7.2.
func reserved(topic string) bool { return strings.HasPrefix(topic, "$") }

// matchLevels is Match from some level on, where '$' means nothing.
func matchLevels(filter, topic string) bool {
	for i, j := 0, 0; ; i, j = i+1, j+1 { // where a level of each begins
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
