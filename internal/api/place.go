package api

import (
	"math"
	"strconv"
	"time"

	"github.com/longline/longline/internal/stream"
)

// The API names places by texts, so that they can become something else than a number one day. A place names an entry: what is after it
// begins with the next one.

func place(n uint64) string { return strconv.FormatUint(n, 10) }

func parsePlace(field, text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == math.MaxUint64 { // there must be a place behind it
		return 0, invalid(field, "is %.100q: want the place of an entry", text)
	}
	return n, nil
}

// parseAfter parses where reading begins in a stream that ends before end.
func parseAfter(field, text string, end uint64) (stream.Start, error) {
	switch text {
	case "", "first":
		return stream.First, nil
	case "latest":
		return stream.Latest, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		if n >= end { // of another stream, or of files that are gone
			return stream.Start{}, coded(stream.ErrPlace)
		}
		return stream.After(n), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return stream.At(at), nil
	}
	return stream.Start{}, invalid(field, "is %.100q: want the place of an entry, a time such as 2026-11-27T12:00:00Z, first or latest", text)
}
