package bench

import (
	"fmt"
	"slices"
)

// Spread has the results of the repetitions of one measurement.
type Spread struct {
	Median float64   `json:"median"`
	Min    float64   `json:"min"`
	Max    float64   `json:"max"`
	Values []float64 `json:"values"` // in the order of repetitions
}

// SpreadOf returns the spread of values, or the zero Spread if there are none.
func SpreadOf(values ...float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(values))
	mid := len(s) / 2
	median := s[mid]
	if len(s)%2 == 0 {
		median = (s[mid-1] + s[mid]) / 2
	}
	return Spread{median, s[0], s[len(s)-1], slices.Clone(values)}
}

// String returns the median, with the range if there are several values.
func (s Spread) String() string {
	if len(s.Values) < 2 {
		return Short(s.Median)
	}
	return fmt.Sprintf("%s (%s-%s)", Short(s.Median), Short(s.Min), Short(s.Max))
}
