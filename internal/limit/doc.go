// Package limit holds what keeps a node on its feet: token buckets, the line before the
// door, counts of connections, circuit breakers, and the watermarks of memory.
//
// Nothing here knows connections or metrics. What answers "not now" says for how long or
// why; what counts has a method that a collector reads. Rate, Memory and Breaker
// look at the clock; the others are told the time.
package limit

// Refusal is a limit that was met: the Go error, and the label that the metrics carry.
// There is one value a rule, so == works.
type Refusal struct {
	Label  string // of metrics and logs: snake_case, from a closed set
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }
