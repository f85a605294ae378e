package router

import (
	"fmt"
	"testing"

	"github.com/longline/longline/internal/message"
)

// subscribeSinkholes gives filter n subscribers that take and forget.
func (r *Router) subscribeSinkholes(filter string, n int) {
	for range n {
		r.Subscribe(filter, &sinkhole{new(int)}, 1)
	}
}

// A message costs a share one allocation more than a plain subscriber: the member's copy.
func TestShareAllocatesOneCopy(t *testing.T) {
	allocations := func(filter string, n int) float64 {
		r := newRouter()
		r.subscribeSinkholes(filter, n)
		m := &message.Message{Topic: "a", Payload: []byte("x"), QoS: 1}
		return testing.AllocsPerRun(1000, func() { _, _ = r.Publish(m, nil) })
	}
	if plain, shared := allocations("a", 1), allocations("$share/g/a", 10); shared > plain+1 {
		t.Errorf("%v allocations, %v without a share", shared, plain)
	}
}

func BenchmarkShare(b *testing.B) {
	for _, test := range []struct {
		filter  string
		members int
	}{{"a", 1}, {"$share/g/a", 1}, {"$share/g/a", 10}, {"$share/g/a", 10_000}} {
		b.Run(fmt.Sprintf("%s/members=%d", test.filter[:1], test.members), func(b *testing.B) {
			r := newRouter()
			r.subscribeSinkholes(test.filter, test.members)
			m := &message.Message{Topic: "a", Payload: make([]byte, 128), QoS: 1}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.Publish(m, nil)
			}
		})
	}
}
