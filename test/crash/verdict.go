package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/longline/longline/internal/topic"
)

// verdict is what the book says at the end of a run.
type verdict struct {
	Sent, Acked, Refused int // messages, without wills
	Wills                int // that were due
	Arrived              int // arrivals of messages at receivers, each message once
	Twice                int // further arrivals of messages
	QoS2Twice            []finding
	QoS2Excused          int       // the same, but in a stream as well, or refused or not answered because the disk failed
	Lost                 []finding // acknowledged, and not there
	Disordered           []finding // arrived after a later message of the same topic
	DisorderExcused      int       // the same, but the later one was sent before the answer to it was lost, which may have been a refusal
	Unwanted             []finding // sent after the end of the subscription, or never sent
	Faults               []string
}

// finding is a message that did not do what was promised, at one receiver.
type finding struct {
	topic    *topicBook
	receiver *receiver // nil for a retained message
	number   int
	text     string
}

// holds reports whether nothing promised is broken. That no QoS 2 message arrives twice is promised over cut connections; over a kill, one that was
// being taken at that moment may.
func (v *verdict) holds() bool {
	return len(v.Lost)+len(v.Disordered)+len(v.Unwanted)+len(v.Faults) == 0
}

// verdict looks at all topics and receivers.
func (b *book) verdict() *verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := &verdict{Faults: b.faults}
	for _, t := range b.topics {
		v.count(t)
	}
	for _, name := range slices.Sorted(maps.Keys(b.receivers)) {
		r := b.receivers[name]
		for _, name := range slices.Sorted(maps.Keys(b.topics)) {
			v.look(r, b.topics[name])
		}
		for name := range r.arrived {
			if b.topics[name] == nil {
				v.Faults = append(v.Faults, r.name+" got a message of "+name+", on which nobody publishes")
			}
		}
	}
	return v
}

func (v *verdict) count(t *topicBook) {
	for _, s := range t.sent {
		if t.will {
			if s.acked > 0 {
				v.Wills++
			}
			continue
		}
		v.Sent++
		switch {
		case s.acked > 0:
			v.Acked++
		case s.refused:
			v.Refused++
		}
	}
}

// look judges what of a topic arrived at a receiver.
func (v *verdict) look(r *receiver, t *topicBook) {
	times := make([]int, len(t.sent)) // how often each message arrived
	newest := -1
	for _, a := range r.arrived[t.name] {
		switch {
		case a.number < 0 || a.number >= len(t.sent):
			v.Unwanted = append(v.Unwanted, finding{t, r, a.number, "was never sent"})
			continue
		case !r.wants(t, a):
			v.Unwanted = append(v.Unwanted, finding{t, r, a.number, "was sent after the subscription had ended"})
		}
		times[a.number]++
		if times[a.number] > 1 {
			v.Twice++
			switch {
			case min(t.qos, r.qos) < 2:
			case t.streamed || t.sent[a.number].ill:
				v.QoS2Excused++
			default:
				v.QoS2Twice = append(v.QoS2Twice, finding{t, r, a.number, "arrived again " + a.at.Round(time.Millisecond).String()})
			}
			continue
		}
		v.Arrived++
		switch s := t.sent[a.number]; {
		case a.number > newest, t.unordered, !r.subscribed(t, s):
		case newest < s.untold:
			v.DisorderExcused++
		default:
			later := t.sent[newest]
			v.Disordered = append(v.Disordered, finding{t, r, a.number, fmt.Sprintf("arrived after %d, which was sent %v, last %v (%d times)",
				newest, later.first, later.last, later.tries)})
		}
		newest = max(newest, a.number)
	}
	if t.retained {
		return // live copies are counted; what is kept is judged by judgeRetained
	}
	for n, s := range t.sent {
		if s.acked > 0 && times[n] == 0 && r.due(t, s) {
			v.Lost = append(v.Lost, finding{t, r, n, "was acknowledged and did not arrive"})
		}
	}
}

// due reports whether a message that was acknowledged has to be at the receiver: a subscription was acknowledged before the message
// was sent first, and its end was not asked for before the message was acknowledged.
func (r *receiver) due(t *topicBook, s sending) bool {
	return slices.ContainsFunc(r.interests, func(i *interest) bool {
		return topic.Match(i.filter, t.name) && i.from > 0 && i.from <= s.first && (i.ending == 0 || !i.handler && s.acked <= i.ending)
	})
}

// subscribed reports whether a subscription was acknowledged before the message was sent first. A message that was not acknowledged, and is sent
// again, may otherwise be behind one that was sent after it.
func (r *receiver) subscribed(t *topicBook, s sending) bool {
	return slices.ContainsFunc(r.interests, func(i *interest) bool {
		return topic.Match(i.filter, t.name) && i.from > 0 && i.from <= s.first && (i.to == 0 || s.first <= i.to)
	})
}

// wants reports whether a message that arrived may have: a subscription was asked for, and had not ended when the message was sent
// last.
func (r *receiver) wants(t *topicBook, a arrival) bool {
	return slices.ContainsFunc(r.interests, func(i *interest) bool {
		return topic.Match(i.filter, t.name) && i.asked <= a.at && (i.to == 0 || t.sent[a.number].first <= i.to)
	})
}

// judgeRetained compares what is retained at the end, the number by the topic, with what was acknowledged: it is the last acknowledged
// message of its topic, or a later one that was not.
func (b *book) judgeRetained(v *verdict, kept map[string]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(b.topics)) {
		t := b.topics[name]
		if !t.retained {
			continue
		}
		last, removed := t.lastKept()
		n, there := kept[name]
		switch {
		case there && (n < last || n >= len(t.sent) || t.sent[n].empty):
			v.Lost = append(v.Lost, finding{t, nil, max(last, 0), "was retained and acknowledged, and the topic has an older message"})
		case !there && last >= 0 && !removed:
			v.Lost = append(v.Lost, finding{t, nil, last, "was retained and acknowledged, and the topic has none"})
		}
	}
}

// lastKept returns the last acknowledged message, or -1, and whether it or a later one that may have been taken removes the topic's.
func (t *topicBook) lastKept() (last int, removed bool) {
	last = -1
	for n := len(t.sent) - 1; n >= 0 && last < 0; n-- {
		removed = removed || t.sent[n].empty
		if t.sent[n].acked > 0 {
			last = n
		}
	}
	return last, removed
}
