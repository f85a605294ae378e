package fleet

import "time"

// bucket is a token bucket that holds at most the tokens of a tenth of a second, so that no wave follows a
// pause.
type bucket struct {
	rate  float64 // tokens per second
	level float64
	at    time.Duration // when it was last filled
}

func (b *bucket) fill(now time.Duration) {
	b.level = min(b.level+b.rate*(now-b.at).Seconds(), max(1, b.rate/10))
	b.at = now
}

// absence is a client that waits to reconnect.
type absence struct {
	until  time.Duration // on the fleet's clock
	client *Client
}

// waiting is a heap.Interface of absences, with the earliest at the top.
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
