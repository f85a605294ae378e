package api

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parameters are the query parameters of a request for events.
var parameters = []string{"filter", "qos", "retained", "buffer_messages", "buffer_bytes"}

// queried parses the query of a request for events.
func (c *Config) queried(raw string) (selection, error) {
	query, err := parseQuery(raw, parameters)
	if err != nil {
		return selection{}, err
	}
	s := selection{filters: query["filter"]}
	for name, values := range query {
		if err := s.set(name, values[0]); err != nil {
			return s, err
		}
	}
	return c.selected(s, func(int) string { return "filter" })
}

// parseQuery parses a query of these parameters. Only filter may be repeated.
func parseQuery(raw string, parameters []string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("query", "does not parse: %v", err)
	}
	for name, values := range query {
		if !slices.Contains(parameters, name) {
			return nil, invalid(strconv.Quote(name), "is not a parameter: want any of %s", strings.Join(parameters, ", "))
		}
		if name != "filter" && len(values) > 1 {
			return nil, invalid(name, "is given twice")
		}
	}
	return query, nil
}

// set sets a parameter.
func (s *selection) set(name, value string) (err error) {
	switch name {
	case "qos":
		var n int
		if n, err = parseCount(name, value); err == nil {
			s.qos, err = validQoS(name, uint32(min(n, math.MaxUint32)))
		}
	case "retained":
		if s.retained, err = strconv.ParseBool(value); err != nil {
			err = invalid(name, "is %.100q: want true or false", value)
		}
	case "buffer_messages":
		s.buffer.Messages, err = parseCount(name, value)
	case "buffer_bytes":
		s.buffer.Bytes, err = parseCount(name, value)
	}
	return err
}

func parseCount(name, value string) (int, error) {
	n, err := strconv.ParseUint(value, 10, 62)
	if err != nil {
		return 0, invalid(name, "is %.100q: want a number", value)
	}
	return int(n), nil
}
