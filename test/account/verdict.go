package account

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/longline/longline/internal/topic"
)

// Verdict is what the book says at the end of a run.
type Verdict struct {
	Sent, Acked, Refused int // messages, without wills
	Wills                int // that were due
	Arrived              int // arrivals of messages at receivers, each message once
	Twice                int // further arrivals of messages
	QoS2Twice            []Finding
	QoS2Excused          int       // the same, but in a stream as well, or refused or not answered because the disk failed
	Lost                 []Finding // acknowledged, and not there
	Disordered           []Finding // arrived after a later message of the same topic
	DisorderExcused      int       // the same, but the later one was sent before the answer to it was lost, which may have been a refusal
	Unwanted             []Finding // sent after the end of the subscription, or never sent
	Faults               []string
}

// Finding is a message that did not do what was promised, at one receiver.
type Finding struct {
	topic    *Topic
	receiver *Receiver // nil for a retained message
	number   int
	text     string
}

// Holds reports whether nothing promised is broken. That no QoS 2 message arrives twice is promised over cut connections; over a kill, one that was
// being taken at that moment may.
func (v *Verdict) Holds() bool {
	return len(v.Lost)+len(v.Disordered)+len(v.Unwanted)+len(v.Faults) == 0
}

// Verdict looks at all topics and receivers.
func (b *Book) Verdict() *Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := &Verdict{Faults: b.faults}
	for _, t := range b.topics {
		v.count(t)
	}
	for _, name := range slices.Sorted(maps.Keys(b.receivers)) {
		r := b.receivers[name]
		for _, t := range b.about(r) {
			v.look(r, t)
		}
		for name := range r.arrived {
			if b.topics[name] == nil {
				v.Faults = append(v.Faults, r.Name+" got a message of "+name+", on which nobody publishes")
			}
		}
	}
	return v
}

// about returns the topics that a receiver has subscribed to or has messages of, by their names.
func (b *Book) about(r *Receiver) []*Topic {
	all := make(map[string]*Topic)
	for name := range r.arrived {
		if t := b.topics[name]; t != nil {
			all[name] = t
		}
	}
	for _, i := range r.interests {
		for _, t := range b.matching(i.Filter) {
			all[t.Name] = t
		}
	}
	var list []*Topic
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, all[name])
	}
	return list
}

// matching returns the topics that match a filter.
func (b *Book) matching(filter string) []*Topic {
	if list, ok := b.matches[filter]; ok && list.topics == len(b.topics) {
		return list.found
	}
	list := matches{topics: len(b.topics)}
	for name, t := range b.topics {
		if topic.Match(filter, name) {
			list.found = append(list.found, t)
		}
	}
	b.matches[filter] = list
	return list.found
}

// matches are the topics that match a filter, while the book has so many topics.
type matches struct {
	topics int
	found  []*Topic
}

func (v *Verdict) count(t *Topic) {
	for _, s := range t.sent {
		if t.Will {
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
func (v *Verdict) look(r *Receiver, t *Topic) {
	times := make([]int, len(t.sent)) // how often each message arrived
	interests := r.interestsIn(t)
	newest := -1
	for _, a := range r.arrived[t.Name] {
		switch {
		case a.number < 0 || a.number >= len(t.sent):
			v.Unwanted = append(v.Unwanted, Finding{t, r, a.number, "was never sent"})
			continue
		case !wants(interests, t, a):
			v.Unwanted = append(v.Unwanted, Finding{t, r, a.number, "was sent after the subscription had ended"})
		}
		times[a.number]++
		if times[a.number] > 1 {
			v.Twice++
			switch {
			case min(t.QoS, r.QoS) < 2:
			case t.Streamed || t.sent[a.number].ill:
				v.QoS2Excused++
			default:
				v.QoS2Twice = append(v.QoS2Twice, Finding{t, r, a.number, "arrived again " + a.at.Round(time.Millisecond).String()})
			}
			continue
		}
		v.Arrived++
		switch s := t.sent[a.number]; {
		case a.number > newest, t.Unordered, !subscribed(interests, s):
		case newest < s.untold:
			v.DisorderExcused++
		default:
			later := t.sent[newest]
			v.Disordered = append(v.Disordered, Finding{t, r, a.number, fmt.Sprintf("arrived after %d, which was sent %v, last %v (%d times)",
				newest, later.first, later.last, later.tries)})
		}
		newest = max(newest, a.number)
	}
	if t.Retained {
		return // live copies are counted; what is kept is judged by JudgeRetained
	}
	for n, s := range t.sent {
		if s.acked > 0 && times[n] == 0 && due(interests, s) {
			v.Lost = append(v.Lost, Finding{t, r, n, "was acknowledged and did not arrive"})
		}
	}
}

// interestsIn returns the subscriptions to a topic.
func (r *Receiver) interestsIn(t *Topic) []*Interest {
	return slices.DeleteFunc(slices.Clone(r.interests), func(i *Interest) bool { return !topic.Match(i.Filter, t.Name) })
}

// due reports whether a message that was acknowledged has to be at the receiver: a subscription was acknowledged before the message
// was sent first, and its end was not asked for before the message was acknowledged.
func due(interests []*Interest, s sending) bool {
	return slices.ContainsFunc(interests, func(i *Interest) bool {
		return i.From > 0 && i.From <= s.first && (i.Ending == 0 || !i.Handler && s.acked <= i.Ending)
	})
}

// subscribed reports whether a subscription was acknowledged before the message was sent first. A message that was not acknowledged, and is sent
// again, may otherwise be behind one that was sent after it.
func subscribed(interests []*Interest, s sending) bool {
	return slices.ContainsFunc(interests, func(i *Interest) bool {
		return i.From > 0 && i.From <= s.first && (i.To == 0 || s.first <= i.To)
	})
}

// wants reports whether a message that arrived may have: a subscription was asked for, and had not ended when the message was sent
// last.
func wants(interests []*Interest, t *Topic, a arrival) bool {
	return slices.ContainsFunc(interests, func(i *Interest) bool {
		return i.Asked <= a.at && (i.To == 0 || t.sent[a.number].first <= i.To)
	})
}

// JudgeRetained compares what is retained at the end, the number by the topic, with what was acknowledged: it is the last acknowledged
// message of its topic, or a later one that was not.
func (b *Book) JudgeRetained(v *Verdict, kept map[string]int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(b.topics)) {
		t := b.topics[name]
		if !t.Retained {
			continue
		}
		last, removed := t.lastKept()
		n, there := kept[name]
		switch {
		case there && (n < last || n >= len(t.sent) || t.sent[n].empty):
			v.Lost = append(v.Lost, Finding{t, nil, max(last, 0), "was retained and acknowledged, and the topic has an older message"})
		case !there && last >= 0 && !removed:
			v.Lost = append(v.Lost, Finding{t, nil, last, "was retained and acknowledged, and the topic has none"})
		}
	}
}

// lastKept returns the last acknowledged message, or -1, and whether it or a later one that may have been taken removes the topic's.
func (t *Topic) lastKept() (last int, removed bool) {
	last = -1
	for n := len(t.sent) - 1; n >= 0 && last < 0; n-- {
		removed = removed || t.sent[n].empty
		if t.sent[n].acked > 0 {
			last = n
		}
	}
	return last, removed
}
