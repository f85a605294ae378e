package main

import (
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

// ticking returns a book whose clock goes on by 1 ms at each look.
func ticking() *book {
	b := newBook()
	var at time.Duration
	b.now = func() time.Duration { at += time.Millisecond; return at }
	return b
}

// story is a publisher with one topic and a receiver that has subscribed to it.
type story struct {
	*book
	topic *topicBook
	r     *receiver
	sub   *interest
}

func newStory() *story {
	b := ticking()
	s := &story{book: b, r: b.receiver("r", 2), topic: b.topic(topicBook{name: "q/p/1", publisher: "p", qos: 2})}
	s.sub = b.subscribing(s.r, "q/p/#")
	b.note(&s.sub.from)
	return s
}

// message sends a message, which is acknowledged and arrives as often as said.
func (s *story) message(arrivals int) (number int) {
	number = s.send(s.topic, false)
	s.answer(s.topic, number, false)
	for range arrivals {
		s.arrive(s.r, s.topic.name, number)
	}
	return number
}

// overtaken sends another message behind one, loses the connection, and lets the later one arrive first.
func (s *story) overtaken(one int) {
	later := s.send(s.topic, false)
	s.cutOff("p", 0)
	s.again(s.topic, one)
	s.again(s.topic, later)
	s.arrive(s.r, s.topic.name, later)
	s.arrive(s.r, s.topic.name, one)
}

func TestVerdict(t *testing.T) {
	type counts struct{ lost, disordered, unwanted, twice, faults int }
	for name, c := range map[string]struct {
		tell func(*story)
		want counts
	}{
		"all is well":                   {func(s *story) { s.message(1); s.message(1) }, counts{}},
		"lost":                          {func(s *story) { s.message(1); s.message(0); s.message(1) }, counts{lost: 1}},
		"an arrival that was not noted": {func(s *story) { s.drop = 2; s.message(1); s.message(1); s.message(1) }, counts{lost: 1}},
		"not acknowledged":              {func(s *story) { s.send(s.topic, false) }, counts{}},
		"refused":                       {func(s *story) { s.answer(s.topic, s.send(s.topic, false), true) }, counts{}},
		"twice":                         {func(s *story) { s.message(2) }, counts{twice: 1}},
		"twice, and in a stream":        {func(s *story) { s.topic.streamed = true; s.message(2) }, counts{}},
		"twice, while the disk failed": {func(s *story) {
			s.storeFails(true)
			s.message(2)
		}, counts{}},
		"out of order": {func(s *story) {
			a, b := s.message(0), s.message(0)
			s.arrive(s.r, s.topic.name, b)
			s.arrive(s.r, s.topic.name, a)
		}, counts{disordered: 1}},
		"the answer, perhaps a refusal, was lost": {func(s *story) {
			s.storeFails(true)
			a := s.send(s.topic, false)
			s.storeFails(false)
			s.overtaken(a)
		}, counts{}},
		"the store was well while the connection lasted": {func(s *story) {
			s.storeFails(true)
			s.storeFails(false)
			s.overtaken(s.send(s.topic, false))
		}, counts{disordered: 1}},
		"the later message was sent on the next connection": {func(s *story) {
			s.storeFails(true)
			a := s.send(s.topic, false)
			s.cutOff("p", 0)
			b := s.message(0)
			s.again(s.topic, a)
			s.arrive(s.r, s.topic.name, b)
			s.arrive(s.r, s.topic.name, a)
		}, counts{disordered: 1}},
		"the connection ended before the store failed": {func(s *story) {
			a, b := s.send(s.topic, false), s.send(s.topic, false)
			s.cutOff("p", 0)
			s.storeFails(true)
			s.arrive(s.r, s.topic.name, b)
			s.arrive(s.r, s.topic.name, a)
		}, counts{disordered: 1}},
		"sent again in order": {func(s *story) {
			a, b := s.message(1), s.message(1)
			s.arrive(s.r, s.topic.name, a)
			s.arrive(s.r, s.topic.name, b)
		}, counts{twice: 2}},
		"sent before the subscription, and again after it": {func(s *story) {
			s.sub.from = 0
			a, b := s.message(0), s.message(1)
			s.note(&s.sub.from)
			s.arrive(s.r, s.topic.name, a)
			s.arrive(s.r, s.topic.name, b)
		}, counts{twice: 1}},
		"a share has no order": {func(s *story) {
			s.topic.unordered = true
			a, b := s.message(0), s.message(0)
			s.arrive(s.r, s.topic.name, b)
			s.arrive(s.r, s.topic.name, a)
		}, counts{}},
		"acknowledged before the end of the subscription": {func(s *story) {
			s.message(0)
			s.note(&s.sub.ending)
		}, counts{lost: 1}},
		"acknowledged after it": {func(s *story) {
			n := s.send(s.topic, false)
			s.note(&s.sub.ending)
			s.answer(s.topic, n, false)
		}, counts{}},
		"sent before the subscription was acknowledged": {func(s *story) {
			s.sub.from = 0
			n := s.message(0)
			s.note(&s.sub.from)
			s.again(s.topic, n)
		}, counts{}},
		"sent after the end": {func(s *story) {
			s.note(&s.sub.ending)
			s.note(&s.sub.to)
			s.message(1)
		}, counts{unwanted: 1}},
		"subscribed again": {func(s *story) {
			s.note(&s.sub.ending)
			s.note(&s.sub.to)
			s.subscribing(s.r, "q/p/#")
			s.message(1)
		}, counts{}},
		"waits for a handler that is gone": {func(s *story) {
			s.sub.handler = true
			s.message(0)
			s.note(&s.sub.ending)
		}, counts{}},
		"never sent":          {func(s *story) { s.arrive(s.r, s.topic.name, 0) }, counts{unwanted: 1}},
		"a topic of nobody's": {func(s *story) { s.arrive(s.r, "q/x/1", 0) }, counts{faults: 1}},
		"a session is gone":   {func(s *story) { s.fault("its session is gone") }, counts{faults: 1}},
	} {
		s := newStory()
		c.tell(s)
		v := s.verdict()
		got := counts{len(v.Lost), len(v.Disordered), len(v.Unwanted), len(v.QoS2Twice), len(v.Faults)}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		c.want.twice = 0
		if v.holds() != (c.want == counts{}) {
			t.Errorf("%s: holds %v", name, v.holds())
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
		topic := b.topic(topicBook{name: "r/p/1", retained: true})
		for _, m := range c.tell {
			n := b.send(topic, m == 'A' || m == 'U')
			if m == 'a' || m == 'A' {
				b.answer(topic, n, false)
			}
		}
		kept := make(map[string]int)
		if c.kept != none {
			kept[topic.name] = c.kept
		}
		v := b.verdict()
		if b.judgeRetained(v, kept); len(v.Lost) != c.lost {
			t.Errorf("%s: lost %d, want %d", name, len(v.Lost), c.lost)
		}
	}
}

func TestSchedule(t *testing.T) {
	if !reflect.DeepEqual(schedule(7, time.Hour, true), schedule(7, time.Hour, true)) {
		t.Error("two schedules of one seed differ")
	}
	for seed := range uint64(1000) {
		kills, full := 0, false
		var last time.Duration
		for _, s := range schedule(seed, 10*time.Minute, true) {
			if s.at < last {
				t.Fatalf("seed %d: %v comes after %v", seed, s.at, last)
			}
			last = s.at
			switch s.do {
			case kill:
				kills += 1 + len(s.also)
			case stop:
				kills += len(s.also)
			case fill, free:
				if full == (s.do == fill) {
					t.Fatalf("seed %d: the disk is filled or freed twice at %v", seed, s.at)
				}
				full = s.do == fill
			}
		}
		if kills < 60 || full {
			t.Errorf("seed %d: %d kills, full at the end: %v", seed, kills, full)
		}
	}
}

// A short run that forgets an arrival finds this loss, and nothing else.
func TestRun(t *testing.T) {
	folder := t.TempDir() + "/" // for programs without the race detector
	if out, err := exec.Command("go", "build", "-o", folder, ".", "../../cmd/longline").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), folder+"crash", "--longline="+folder+"longline",
		"--duration=5s", "--devices=12", "--no-fill", "--drop=100").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "\nlost 1, out of order 0, unwanted 0, faults 0\n\nlost: ") {
		t.Errorf("an arrival was forgotten: %v\n%s", err, out)
	}
}
