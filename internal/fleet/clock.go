package fleet

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// timeFormat is one way to write a time.
type timeFormat struct {
	parse func(string) (time.Time, bool)
	want  string // how errors describe the format
}

var (
	rfc3339 = timeFormat{layouts(time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05Z0700",
		"2006-01-02 15:04:05Z0700", "2006-01-02 15:04:05 Z0700", "2006-01-02 15:04:05 Z07:00"),
		`RFC 3339, such as 2016-01-01T00:00:00+08:00`}
	datetime = timeFormat{layouts(time.DateTime, "2006-01-02T15:04:05"),
		`a date and time without zone, such as 2016-01-01 00:00:00`}
	unixSeconds = timeFormat{unixTime(time.Second), "Unix seconds, such as 1451606400"}
	unixMillis  = timeFormat{unixTime(time.Millisecond), "Unix milliseconds, such as 1451606400000"}
	unixMicros  = timeFormat{unixTime(time.Microsecond), "Unix microseconds, such as 1451606400000000"}
	unknownTime = timeFormat{layouts(), "RFC 3339, 2006-01-02 15:04:05, Unix seconds, milliseconds or microseconds; or name the format"}
)

// layouts returns a function that parses any of the layouts. A time without a zone is UTC.
func layouts(all ...string) func(string) (time.Time, bool) {
	return func(s string) (time.Time, bool) {
		for _, layout := range all {
			if t, err := time.Parse(layout, s); err == nil {
				return t, true
			}
		}
		return time.Time{}, false
	}
}

// unixTime returns a function that parses a number of units since 1970, which may have a fraction.
func unixTime(unit time.Duration) func(string) (time.Time, bool) {
	return func(s string) (time.Time, bool) {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return unixParts(float64(n), 0, unit)
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return time.Time{}, false
		}
		whole, part := math.Modf(f)
		return unixParts(whole, part, unit)
	}
}

// maxUnixSeconds is the year 9999.
const maxUnixSeconds = 253_402_300_799

func unixParts(whole, part float64, unit time.Duration) (time.Time, bool) {
	if !(math.Abs(whole)*unit.Seconds() <= maxUnixSeconds) { // NaN and infinities too
		return time.Time{}, false
	}
	perSecond := int64(time.Second / unit)
	n := int64(whole)
	return time.Unix(n/perSecond, n%perSecond*int64(unit)+int64(part*float64(unit))), true
}

// timeFormatNamed reads Replay.TimeFormat. For an empty name the format parses nothing: detectTimeFormat will
// find it.
func timeFormatNamed(name string) (timeFormat, error) {
	switch name {
	case "":
		return timeFormat{}, nil
	case "rfc3339":
		return rfc3339, nil
	case "datetime":
		return datetime, nil
	case "unix":
		return unixSeconds, nil
	case "unix-ms":
		return unixMillis, nil
	case "unix-us":
		return unixMicros, nil
	}
	// A layout without any part of a time writes two times in the same way.
	a, b := time.Unix(0, 0).UTC(), time.Unix(1e9, 0).UTC()
	if a.Format(name) == b.Format(name) {
		return timeFormat{}, fmt.Errorf("time format %q: want rfc3339, datetime, unix, unix-ms, unix-us, or a layout such as 02.01.2006 15:04", name)
	}
	return timeFormat{layouts(name), fmt.Sprintf("the layout %q", name)}, nil
}

func checkTimeFormat(name string) error {
	_, err := timeFormatNamed(name)
	return err
}

// millisFrom is the number from which on a Unix time counts as milliseconds: as seconds
// it would be in the year 5138, as milliseconds it is in 1973.
const millisFrom = 1e11

// microsFrom is the number from which on it counts as microseconds: as milliseconds it would be in the year 5138.
const microsFrom = 1e14

// detectTimeFormat returns the format in which s is written.
func detectTimeFormat(s string) timeFormat {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if math.Abs(f) >= microsFrom {
			return unixMicros
		}
		if math.Abs(f) >= millisFrom {
			return unixMillis
		}
		return unixSeconds
	}
	for _, format := range []timeFormat{rfc3339, datetime} {
		if _, ok := format.parse(s); ok {
			return format
		}
	}
	return unknownTime
}
