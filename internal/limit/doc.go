// Package limit holds what protects a node from overload: token buckets, the line of connections that
// wait to be accepted, counts of connections, circuit breakers, and watermarks of memory.
//
// Nothing here knows connections or metrics. A refusal says for how long or
// why; each type that counts has a method that a collector reads. Rate, Memory and Breaker
// read the clock; the callers of the others pass the time.
package limit

// Refusal says which limit was reached: the Go error, and the metrics' label.
// There is one value per rule, so == works.
type Refusal struct {
	Label  string // of metrics and logs: snake_case, from a closed set
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }
