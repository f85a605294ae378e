package store

import (
	"cmp"
	"slices"

	"github.com/longline/longline/internal/topic"
)

// A session saves its whole record, which shares the list of subscriptions with it. In the journal are the changes: a device may
// have a thousand subscriptions, and they come one by one.

// save appends what makes r of the record before, which may be nil.
func (l log) save(r, had *Record) {
	if had == nil {
		l.add(&Op{Kind: OpSave, Device: r.Device, Record: r})
		return
	}
	if !r.sameBut(had) {
		l.add(&Op{Kind: OpUpdate, Device: r.Device, Record: r.withoutSubscriptions()})
	}
	eachChange(had.Subscriptions, r.Subscriptions, func(was, is *topic.Subscription) {
		if is == nil {
			l.add(&Op{Kind: OpUnsubscribe, Device: r.Device, Topic: was.Filter})
		} else {
			l.add(&Op{Kind: OpSubscribe, Device: r.Device, Subscription: is})
		}
	})
}

// sameBut reports whether the records are equal but for their subscriptions.
func (r *Record) sameBut(o *Record) bool {
	return r.Session == o.Session && r.Expiry == o.Expiry && r.Left == o.Left && r.Missed == o.Missed && r.Will == o.Will
}

func (r *Record) withoutSubscriptions() *Record {
	c := *r
	c.Subscriptions = nil
	return &c
}

// eachChange calls change for the subscriptions that make after of before: with what was, or with what is, or both. It is fast for
// lists that keep their order and get what is new at their end, as a session's do.
func eachChange(before, after []topic.Subscription, change func(was, is *topic.Subscription)) {
	if len(before) == len(after) && (len(after) == 0 || &before[0] == &after[0]) {
		return
	}
	at := 0 // those before it are done
	for i := range after {
		is := &after[i]
		found := slices.IndexFunc(before[at:], func(s topic.Subscription) bool { return s.Filter == is.Filter })
		if found < 0 {
			change(nil, is)
			continue
		}
		for range found {
			change(&before[at], nil)
			at++
		}
		if before[at] != *is {
			change(&before[at], is)
		}
		at++
	}
	for ; at < len(before); at++ {
		change(&before[at], nil)
	}
}

// applyRecord makes the change of an operation of the journal. The list of subscriptions is the store's own until a session has it, and in the
// order of the filters. s is locked.
func (s *Memory) applyRecord(op *Op) {
	has := s.records[op.Device]
	switch {
	case op.Kind == OpSave || has == nil && op.Kind == OpUpdate:
		r := op.Record
		slices.SortFunc(r.Subscriptions, func(a, b topic.Subscription) int { return cmp.Compare(a.Filter, b.Filter) })
		if has == nil {
			has = new(saved)
			s.records[op.Device] = has
		}
		has.set(r)
	case has == nil: // its session has ended, and OpDrop follows
	case op.Kind == OpUpdate:
		op.Record.Subscriptions = has.subscriptions
		has.set(op.Record)
	default:
		has.applySubscription(op)
	}
}

func (x *saved) applySubscription(op *Op) {
	filter := op.Topic
	if op.Kind == OpSubscribe {
		filter = op.Subscription.Filter
	}
	i, there := slices.BinarySearchFunc(x.subscriptions, filter, func(s topic.Subscription, f string) int { return cmp.Compare(s.Filter, f) })
	switch {
	case op.Kind == OpSubscribe && there:
		x.subscriptions[i] = *op.Subscription
	case op.Kind == OpSubscribe:
		x.subscriptions = slices.Insert(x.subscriptions, i, *op.Subscription)
	case there:
		x.subscriptions = slices.Delete(x.subscriptions, i, i+1)
	}
}
