package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/longline/longline/internal/topic"
)

// bytesOnly is a journal that counts.
type bytesOnly struct{ n int }

func (b *bytesOnly) Add(op Op)             { b.n += len(AppendOp(nil, &op)) }
func (*bytesOnly) Commit(done func(error)) { done(nil) }
func (*bytesOnly) Err() error              { return nil }

// A device that subscribes a thousand times, and then comes and goes, writes each subscription once.
func TestSubscriptionsAreWrittenOnce(t *testing.T) {
	j := new(bytesOnly)
	s := NewJournaled(Options{}, j)
	var subs []topic.Subscription
	for i := range 1000 {
		subs = append(slices.Clone(subs), topic.Subscription{Filter: fmt.Sprintf("device/d/%03d/#", i), QoS: 1})
		s.Save(&Record{Device: "d", Session: 1, Expiry: time.Hour, Subscriptions: subs})
	}
	for left := range int64(1000) {
		s.Save(&Record{Device: "d", Session: 1, Expiry: time.Hour, Left: left, Subscriptions: subs})
	}
	if j.n > 100_000 {
		t.Errorf("%d bytes were written", j.n)
	}
}

// The changes make the one list of the other, whatever the lists are.
func TestSubscriptionChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	list := func() (all []topic.Subscription) {
		for _, i := range random.Perm(8)[:random.IntN(9)] {
			all = append(all, topic.Subscription{Filter: string(rune('a' + i)), ID: uint32(random.IntN(2))})
		}
		return all
	}
	asMap := func(all []topic.Subscription) map[string]topic.Subscription {
		m := map[string]topic.Subscription{}
		for _, s := range all {
			m[s.Filter] = s
		}
		return m
	}
	for range 20_000 {
		before, after := list(), list()
		got := asMap(before)
		eachChange(before, after, func(was, is *topic.Subscription) {
			if is == nil {
				delete(got, was.Filter)
			} else {
				got[is.Filter] = *is
			}
		})
		if !maps.Equal(got, asMap(after)) {
			t.Fatalf("%v became %v, want %v", before, got, after)
		}
	}
}
