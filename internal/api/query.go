package api

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parameters are those of a request for events.
var parameters = []string{"filter", "qos", "retained", "buffer_messages", "buffer_bytes"}

// queried checks the query of a request for events.
func (c *Config) queried(raw string) (selection, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return selection{}, invalid("query", "does not parse: %v", err)
	}
	s := selection{filters: query["filter"]}
	for name, values := range query {
		switch {
		case !slices.Contains(parameters, name):
			err = invalid(strconv.Quote(name), "is not a parameter: there are %s", strings.Join(parameters, ", "))
		case name != "filter" && len(values) > 1:
			err = invalid(name, "is given twice")
		default:
			err = s.set(name, values[0])
		}
		if err != nil {
			return s, err
		}
	}
	return c.selected(s, func(int) string { return "filter" })
}

// set gives a parameter its value.
func (s *selection) set(name, value string) (err error) {
	switch name {
	case "qos":
		var n uint64
		if n, err = strconv.ParseUint(value, 10, 32); err == nil {
			s.qos, err = validQoS(name, uint32(n))
			return err
		}
	case "retained":
		s.retained, err = strconv.ParseBool(value)
	case "buffer_messages":
		s.buffer.Messages, err = parseCount(value)
	case "buffer_bytes":
		s.buffer.Bytes, err = parseCount(value)
	}
	if err != nil {
		return invalid(name, "is %.100q: want a number, or true or false for retained", value)
	}
	return nil
}

func parseCount(value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 62)
	return int(n), err
}
