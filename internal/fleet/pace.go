package fleet

import "time"

// bucket is a token bucket that holds a tenth of a second's tokens at most, so that a pause
// is not made up for by a wave.
type bucket struct {
	rate  float64 // tokens a second
	level float64
	at    time.Duration // of the last fill
}

func (b *bucket) fill(now time.Duration) {
	b.level = min(b.level+b.rate*(now-b.at).Seconds(), max(1, b.rate/10))
	b.at = now
}

// absence is a client that waits to come back.
type absence struct {
	until  time.Duration // on the fleet's clock
	client *Client
}

// waiting is a heap.Interface of absences, the first due at the top.
type waiting []absence

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return w[i].until < w[j].until }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)        { *w = append(*w, x.(absence)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	a := (*w)[last]
	(*w)[last] = absence{}
	*w = (*w)[:last]
	return a
}
