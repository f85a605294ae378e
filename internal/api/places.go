package api

import (
	"cmp"
	"errors"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// places are a place in a stream of a cluster: one in each node's part. As a text they are node:place, in the order of the names, and perhaps *:time for the
// parts of other nodes.
type places struct {
	at   map[string]uint64 // all up to here, by node
	rest time.Time         // where the parts of nodes that are not in at begin; zero: with their oldest entry
}

// mostParts bounds the nodes that a place names.
const mostParts = 1000

const otherParts = "*" // no node's name, because names are escaped

func (p *places) String() string {
	var b strings.Builder
	for _, node := range slices.Sorted(maps.Keys(p.at)) {
		b.WriteString(url.QueryEscape(node) + ":" + strconv.FormatUint(p.at[node], 10) + ",")
	}
	if !p.rest.IsZero() {
		b.WriteString(otherParts + ":" + strconv.FormatInt(p.rest.UnixMilli(), 10) + ",")
	}
	return cmp.Or(strings.TrimSuffix(b.String(), ","), "0")
}

// around returns what is before and behind the place of a node's part in the text of p.
func (p *places) around(node string) (before, behind string) {
	const mark = math.MaxUint64
	at := maps.Clone(p.at)
	if at == nil {
		at = make(map[string]uint64)
	}
	at[node] = mark
	marked := places{at: at, rest: p.rest}
	before, behind, _ = strings.Cut(marked.String(), ":"+strconv.FormatUint(mark, 10))
	return before + ":", behind
}

var errPlaces = errors.New("want the place of an entry")

// parsePlaces parses what String returned.
func parsePlaces(field, text string) (places, error) {
	p := places{at: make(map[string]uint64)}
	if text == "0" {
		return p, nil
	}
	if err := p.parse(text); err != nil {
		return places{}, invalid(field, "is %.100q: %v", text, err)
	}
	return p, nil
}

func (p *places) parse(text string) error {
	if strings.Count(text, ",") >= mostParts {
		return errPlaces
	}
	for one := range strings.SplitSeq(text, ",") {
		name, number, _ := strings.Cut(one, ":")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil || n == math.MaxUint64 { // there must be a place behind it
			return errPlaces
		}
		if name == otherParts && n <= math.MaxInt64 {
			p.rest = time.UnixMilli(int64(n))
			continue
		}
		node, err := url.QueryUnescape(name)
		if _, twice := p.at[node]; err != nil || node == "" || node == otherParts || twice {
			return errPlaces
		}
		p.at[node] = n
	}
	return nil
}

// validPlace checks the place of an entry.
func (a *API) validPlace(field, text string) (err error) {
	if a.node.Cluster != nil {
		_, err = parsePlaces(field, text)
	} else {
		_, err = parsePlace(field, text)
	}
	return err
}

// parseAfterParts parses where reading begins in all parts of a stream.
func parseAfterParts(field, text string, now time.Time) (places, error) {
	switch text {
	case "", "first":
		return places{at: make(map[string]uint64)}, nil
	case "latest":
		return places{at: make(map[string]uint64), rest: now}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return places{at: make(map[string]uint64), rest: at}, nil
	}
	if _, err := strconv.ParseUint(text, 10, 64); err == nil && text != "0" {
		return places{}, invalid(field, "is %.100q: this is the place of one node, in a cluster a place has one for each", text)
	}
	p, err := parsePlaces(field, text)
	if err != nil {
		return places{}, invalid(field, "is %.100q: want the place of an entry, a time such as 2026-11-27T12:00:00Z, first or latest", text)
	}
	return p, nil
}

// begin returns where reading begins in a node's part.
func (p *places) begin(node string) begin {
	switch n, ok := p.at[node]; {
	case ok:
		return begin{kind: beginAfter, place: n}
	case !p.rest.IsZero():
		return begin{kind: beginAt, at: p.rest}
	}
	return begin{}
}
