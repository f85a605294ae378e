package account

import (
	"testing"
	"time"
)

// ticking returns a book whose clock goes on by 1 ms at each look.
func ticking() *Book {
	b := NewBook()
	var at time.Duration
	b.Now = func() time.Duration { at += time.Millisecond; return at }
	return b
}

// story is a publisher with one topic and a receiver that has subscribed to it.
type story struct {
	*Book
	topic *Topic
	r     *Receiver
	sub   *Interest
}

func newStory() *story {
	b := ticking()
	s := &story{Book: b, r: b.Receiver("r", 2), topic: b.Topic(Topic{Name: "q/p/1", Publisher: "p", QoS: 2})}
	s.sub = b.Subscribing(s.r, "q/p/#")
	b.Note(&s.sub.From)
	return s
}

// message sends a message, which is acknowledged and arrives as often as said.
func (s *story) message(arrivals int) (number int) {
	number = s.Send(s.topic, false)
	s.Answer(s.topic, number, false)
	for range arrivals {
		s.Arrive(s.r, s.topic.Name, number)
	}
	return number
}

// overtaken sends another message behind one, loses the connection, and lets the later one arrive first.
func (s *story) overtaken(one int) {
	later := s.Send(s.topic, false)
	s.CutOff("p", 0)
	s.Again(s.topic, one)
	s.Again(s.topic, later)
	s.Arrive(s.r, s.topic.Name, later)
	s.Arrive(s.r, s.topic.Name, one)
}

func TestVerdict(t *testing.T) {
	type counts struct{ lost, disordered, unwanted, twice, faults int }
	for name, c := range map[string]struct {
		tell func(*story)
		want counts
	}{
		"all is well":                   {func(s *story) { s.message(1); s.message(1) }, counts{}},
		"lost":                          {func(s *story) { s.message(1); s.message(0); s.message(1) }, counts{lost: 1}},
		"an arrival that was not noted": {func(s *story) { s.Drop = 2; s.message(1); s.message(1); s.message(1) }, counts{lost: 1}},
		"not acknowledged":              {func(s *story) { s.Send(s.topic, false) }, counts{}},
		"refused":                       {func(s *story) { s.Answer(s.topic, s.Send(s.topic, false), true) }, counts{}},
		"twice":                         {func(s *story) { s.message(2) }, counts{twice: 1}},
		"twice, and in a stream":        {func(s *story) { s.topic.Streamed = true; s.message(2) }, counts{}},
		"twice, while the disk failed": {func(s *story) {
			s.StoreFails(true)
			s.message(2)
		}, counts{}},
		"out of order": {func(s *story) {
			a, b := s.message(0), s.message(0)
			s.Arrive(s.r, s.topic.Name, b)
			s.Arrive(s.r, s.topic.Name, a)
		}, counts{disordered: 1}},
		"the answer, perhaps a refusal, was lost": {func(s *story) {
			s.StoreFails(true)
			a := s.Send(s.topic, false)
			s.StoreFails(false)
			s.overtaken(a)
		}, counts{}},
		"the store was well while the connection lasted": {func(s *story) {
			s.StoreFails(true)
			s.StoreFails(false)
			s.overtaken(s.Send(s.topic, false))
		}, counts{disordered: 1}},
		"the later message was sent on the next connection": {func(s *story) {
			s.StoreFails(true)
			a := s.Send(s.topic, false)
			s.CutOff("p", 0)
			b := s.message(0)
			s.Again(s.topic, a)
			s.Arrive(s.r, s.topic.Name, b)
			s.Arrive(s.r, s.topic.Name, a)
		}, counts{disordered: 1}},
		"the connection ended before the store failed": {func(s *story) {
			a, b := s.Send(s.topic, false), s.Send(s.topic, false)
			s.CutOff("p", 0)
			s.StoreFails(true)
			s.Arrive(s.r, s.topic.Name, b)
			s.Arrive(s.r, s.topic.Name, a)
		}, counts{disordered: 1}},
		"sent again in order": {func(s *story) {
			a, b := s.message(1), s.message(1)
			s.Arrive(s.r, s.topic.Name, a)
			s.Arrive(s.r, s.topic.Name, b)
		}, counts{twice: 2}},
		"sent before the subscription, and again after it": {func(s *story) {
			s.sub.From = 0
			a, b := s.message(0), s.message(1)
			s.Note(&s.sub.From)
			s.Arrive(s.r, s.topic.Name, a)
			s.Arrive(s.r, s.topic.Name, b)
		}, counts{twice: 1}},
		"a share has no order": {func(s *story) {
			s.topic.Unordered = true
			a, b := s.message(0), s.message(0)
			s.Arrive(s.r, s.topic.Name, b)
			s.Arrive(s.r, s.topic.Name, a)
		}, counts{}},
		"acknowledged before the end of the subscription": {func(s *story) {
			s.message(0)
			s.Note(&s.sub.Ending)
		}, counts{lost: 1}},
		"acknowledged after it": {func(s *story) {
			n := s.Send(s.topic, false)
			s.Note(&s.sub.Ending)
			s.Answer(s.topic, n, false)
		}, counts{}},
		"sent before the subscription was acknowledged": {func(s *story) {
			s.sub.From = 0
			n := s.message(0)
			s.Note(&s.sub.From)
			s.Again(s.topic, n)
		}, counts{}},
		"sent after the end": {func(s *story) {
			s.Note(&s.sub.Ending)
			s.Note(&s.sub.To)
			s.message(1)
		}, counts{unwanted: 1}},
		"subscribed again": {func(s *story) {
			s.Note(&s.sub.Ending)
			s.Note(&s.sub.To)
			s.Subscribing(s.r, "q/p/#")
			s.message(1)
		}, counts{}},
		"waits for a handler that is gone": {func(s *story) {
			s.sub.Handler = true
			s.message(0)
			s.Note(&s.sub.Ending)
		}, counts{}},
		"never sent":          {func(s *story) { s.Arrive(s.r, s.topic.Name, 0) }, counts{unwanted: 1}},
		"a topic of nobody's": {func(s *story) { s.Arrive(s.r, "q/x/1", 0) }, counts{faults: 1}},
		"a session is gone":   {func(s *story) { s.Fault("its session is gone") }, counts{faults: 1}},
	} {
		s := newStory()
		c.tell(s)
		v := s.Verdict()
		got := counts{len(v.Lost), len(v.Disordered), len(v.Unwanted), len(v.QoS2Twice), len(v.Faults)}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		c.want.twice = 0
		if v.Holds() != (c.want == counts{}) {
			t.Errorf("%s: holds %v", name, v.Holds())
		}
	}
}

func TestVerdictOfRetained(t *testing.T) {
	const none = -1
	for name, c := range map[string]struct {
		tell string // for each message: a is acknowledged, u is not; A and U remove what is retained
		kept int
		lost int
	}{
		"the last":                 {"aa", 1, 0},
		"an older one":             {"aa", 0, 1},
		"none":                     {"a", none, 1},
		"a newer one":              {"au", 1, 0},
		"not the newer one":        {"au", 0, 0},
		"removed":                  {"aA", none, 0},
		"not removed":              {"aA", 0, 1},
		"removed perhaps":          {"aU", none, 0},
		"not removed perhaps":      {"aU", 0, 0},
		"after it was removed":     {"aAa", 2, 0},
		"still removed":            {"aAa", none, 1},
		"nothing was acknowledged": {"u", none, 0},
		"what was never sent":      {"a", 7, 1},
	} {
		b := ticking()
		topic := b.Topic(Topic{Name: "r/p/1", Retained: true})
		for _, m := range c.tell {
			n := b.Send(topic, m == 'A' || m == 'U')
			if m == 'a' || m == 'A' {
				b.Answer(topic, n, false)
			}
		}
		kept := make(map[string]int)
		if c.kept != none {
			kept[topic.Name] = c.kept
		}
		v := b.Verdict()
		if b.JudgeRetained(v, kept); len(v.Lost) != c.lost {
			t.Errorf("%s: lost %d, want %d", name, len(v.Lost), c.lost)
		}
	}
}
