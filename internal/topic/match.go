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
	for {
		if filter == "#" {
			return true
		}
		want, filterRest, filterMore := strings.Cut(filter, "/")
		level, topicRest, topicMore := strings.Cut(topic, "/")
		switch {
		case want != "+" && want != level:
			return false
		case !topicMore: // §4.7.1.2: "sport/#" also matches "sport"
			return !filterMore || filterRest == "#"
		case !filterMore:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}
