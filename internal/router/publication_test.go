package router

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// The claims of a publication as a model: its state is a value, and each atomic step of each party makes another. The
// publisher asks its receivers one after the other; those that claim give their answers whenever they like.
type claims struct {
	publisher int    // steps that it has done
	receivers [3]int // steps that each has done since it has claimed
	made      bool   // the claim is there
	pending   int
	refused   string // the first refusal that was noted
	told      string // every answer that the publisher got
}

// asked is how a receiver behaves: it claims or has the message, and refuses it by name or not.
type asked struct {
	claims  bool
	refuses string
}

// publish is the next step of the publisher: to ask a receiver, and then to note what was refused at once, to give up
// its own right, and to take the answer if it was the last.
func (c claims) publish(all []asked) (_ claims, ok bool) {
	at := c.publisher - len(all)
	c.publisher++
	switch {
	case at < 0 && all[at+len(all)].claims:
		if !c.made {
			c.made, c.pending = true, 1
		}
		c.pending++
	case at < 0:
	case at == 0:
		for _, r := range all {
			if !r.claims && r.refuses != "" && c.refused == "" {
				c.refused = r.refuses
			}
		}
		if !c.made {
			c.told += fmt.Sprintf("now %q;", c.refused)
			c.publisher = 99
		}
	case at == 1:
		if c.pending--; c.pending > 0 {
			c.publisher = 99
		}
	case at == 2:
		c.told += fmt.Sprintf("now %q;", c.refused)
	default:
		return c, false
	}
	return c, true
}

// answer is the next step of a receiver that has claimed: to note its refusal, to give up its right, and to tell the
// publisher if that was the last.
func (c claims) answer(i int, all []asked) (_ claims, ok bool) {
	if i >= len(all) || !all[i].claims || c.publisher <= i {
		return c, false
	}
	step := c.receivers[i]
	c.receivers[i]++
	switch step {
	case 0:
		if c.refused == "" {
			c.refused = all[i].refuses
		}
	case 1:
		if c.pending--; c.pending > 0 {
			c.receivers[i] = 99
		}
	case 2:
		c.told += fmt.Sprintf("later %q;", c.refused)
	default:
		return c, false
	}
	return c, true
}

// In any interleaving the publisher is told once, at the end, and of a refusal if there was one.
func TestClaimsModel(t *testing.T) {
	states := 0
	for _, all := range behaviours(3) {
		ends := map[string]bool{}
		seen := map[claims]bool{}
		var walk func(claims)
		walk = func(c claims) {
			if seen[c] {
				return
			}
			seen[c] = true
			over := true
			if next, ok := c.publish(all); ok {
				over = false
				walk(next)
			}
			for i := range all {
				if next, ok := c.answer(i, all); ok {
					over = false
					if c.told != "" {
						t.Fatalf("%v: told %s before %d has answered", all, c.told, i)
					}
					walk(next)
				}
			}
			if over {
				ends[c.told] = true
			}
		}
		walk(claims{})
		states += len(seen)
		want := map[string]bool{}
		for _, r := range all {
			if r.refuses != "" {
				want[fmt.Sprintf("now %q;", r.refuses)], want[fmt.Sprintf("later %q;", r.refuses)] = true, true
			}
		}
		if len(want) == 0 {
			want[`now "";`], want[`later "";`] = true, true
		}
		for told := range ends {
			if !want[told] {
				t.Errorf("%v: told %q", all, told)
			}
		}
	}
	t.Logf("%d states", states)
}

// behaviours are all ways in which up to n receivers can behave.
func behaviours(n int) (all [][]asked) {
	all = [][]asked{nil}
	for begin := 0; n > 0; n-- {
		last := all[begin:]
		begin = len(all)
		for _, before := range last {
			for _, r := range []asked{{false, ""}, {true, ""}, {false, fmt.Sprint("no", n)}, {true, fmt.Sprint("no", n)}} {
				all = append(all, append(before[:len(before):len(before)], r))
			}
		}
	}
	return all
}

// claimer takes claims, which others tell at once.
type claimer struct {
	wg      *sync.WaitGroup
	refuses error
	told    int // guarded by the wait group
}

func (c *claimer) Deliver(_ *message.Message, _ message.QoS, p *Publication) error {
	for range rand.IntN(3) {
		c.told++
		claim := p.Claim()
		c.wg.Go(func() { claim.Done(c.refuses) })
	}
	return nil
}

// The code, as the model: whoever is last, the publisher is answered once.
func TestClaimsAreToldOnce(t *testing.T) {
	for range 5000 {
		r := newRouter()
		var wg sync.WaitGroup
		one, two := &claimer{wg: &wg}, &claimer{wg: &wg, refuses: store.ErrTooLarge}
		r.Subscribe("a", one, 1)
		r.Subscribe("a", two, 1)
		later := make(chan error, 9)
		got, err := r.Publish(&message.Message{Topic: "a", QoS: 1}, func(err error) { later <- err })
		wg.Wait()
		if got.Later {
			err = <-later
		}
		if len(later) > 0 || got.Later && one.told+two.told == 0 || errors.Is(err, store.ErrTooLarge) != (two.told > 0) {
			t.Fatalf("%+v, %v, and %d answers more, of %d and %d claims", got, err, len(later), one.told, two.told)
		}
	}
}

// A claim without a deadline is for whoever waits for ever; all others have that of the router.
func TestClaimDeadlines(t *testing.T) {
	r := newRouter()
	full := &receiver{}
	r.Subscribe("a", full, 1)
	m := &message.Message{Topic: "a", QoS: 1}
	_, _ = r.Publish(m, nil)
	_, _ = r.PublishFor(m, Publisher{NoDeadline: true})
	_, _ = r.DeliverTo([]Hit{{Subscriber: full, QoS: 1}}, m.Clone(), nil)
	for i, h := range full.waiting.Take(9) {
		if h.Claim.Deadline.IsZero() != (i == 1) {
			t.Errorf("%d has the deadline %v", i, h.Claim.Deadline)
		}
	}
}

// durable is a store whose fences a test lets pass.
type durable struct {
	store.Store
	fences []func(error)
}

func (*durable) Durable() bool             { return true }
func (d *durable) Commit(done func(error)) { d.fences = append(d.fences, done) }
func (d *durable) pass()                   { d.fences[0](nil); d.fences = d.fences[1:] }

// keeper is a receiver that gives what it takes to a durable store.
type keeper struct{ receiver }

func (k *keeper) Deliver(m *message.Message, q message.QoS, p *Publication) error {
	err := k.receiver.Deliver(m, q, p)
	if k.waiting.Len() == 0 {
		p.Saved()
	}
	return err
}

// The note of a publisher is behind all receivers and before the fence that it waits for, of which there is one unless a
// receiver had to wait for room.
func TestPublisherNotes(t *testing.T) {
	for _, c := range []struct {
		name    string
		room    int
		refuses error
		saves   bool
		want    string
	}{
		{"room", 1, nil, true, "note, later, fence <nil>"},
		{"nothing to save", 1, nil, false, "note, later, fence <nil>"},
		{"no room", 0, nil, true, "later, fence, room, note, fence <nil>"},
		{"no room, nothing to save", 0, nil, false, "later, fence, room, note <nil>"},
		{"refused", 1, store.ErrTooLarge, true, "later, fence " + store.ErrTooLarge.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &durable{Store: store.NewMemory(store.Options{})}
			r := New(Config{}, d)
			first, second := &keeper{receiver{room: 1}}, &receiver{room: c.room, refuses: c.refuses}
			r.Subscribe("a", first, 1)
			r.Subscribe("a", second, 1)
			log := ""
			got, err := r.PublishFor(&message.Message{Topic: "a", QoS: 1}, Publisher{
				Note: func() bool { log += "note, "; return c.saves },
				Done: func(err error) { log += fmt.Sprint(" ", err) },
			})
			if !got.Later || err != nil {
				t.Fatal(got, err)
			}
			log += "later"
			for len(d.fences) > 0 || second.waiting.Len() > 0 {
				if len(d.fences) > 0 {
					log += ", fence"
					d.pass()
					continue
				}
				log += ", room, "
				second.grow(1)
			}
			if log = strings.ReplaceAll(strings.ReplaceAll(log, ",  ", " "), ", ,", ","); log != c.want {
				t.Errorf("%s, want %s", log, c.want)
			}
		})
	}
}

// hasty claims, and answers before its Deliver returns.
type hasty struct{ refuses error }

func (h hasty) Deliver(_ *message.Message, _ message.QoS, p *Publication) error {
	p.Claim().Done(h.refuses)
	return nil
}

// The publisher notes also if all claims were answered before all receivers were asked.
func TestPublisherNotesAfterHastyReceivers(t *testing.T) {
	for _, c := range []struct {
		refuses error
		saves   bool
		want    string
	}{
		{nil, true, "note, later, fence <nil>"},
		{nil, false, "note, now <nil>"},
		{store.ErrTooLarge, true, "now " + store.ErrTooLarge.Error()},
	} {
		d := &durable{Store: store.NewMemory(store.Options{})}
		r := New(Config{}, d)
		r.Subscribe("a", hasty{c.refuses}, 1)
		log := ""
		got, err := r.PublishFor(&message.Message{Topic: "a", QoS: 2}, Publisher{
			Note: func() bool { log += "note, "; return c.saves },
			Done: func(err error) { log += fmt.Sprint(" ", err) },
		})
		if got.Later {
			log += "later, fence"
			d.pass()
		} else {
			log += fmt.Sprint("now ", err)
		}
		if log != c.want {
			t.Errorf("%s, want %s", log, c.want)
		}
	}
}

// A receiver that has room needs no claim, and the publication costs the one copy of the message.
func TestPublishAllocatesOneCopy(t *testing.T) {
	r := newRouter()
	for range 10 {
		r.Subscribe("a", &sinkhole{new(int)}, 1)
	}
	m := &message.Message{Topic: "a", Payload: []byte("x"), QoS: 1}
	done := func(error) {}
	copies := testing.AllocsPerRun(1000, func() { _ = m.Clone() })
	if n := testing.AllocsPerRun(1000, func() { _, _ = r.Publish(m, done) }); n > copies {
		t.Errorf("%v allocations, %v for a copy", n, copies)
	}
}

func BenchmarkPublishWaits(b *testing.B) {
	r := newRouter()
	full := &receiver{}
	r.Subscribe("a", full, 1)
	m := &message.Message{Topic: "a", Payload: make([]byte, 128), QoS: 1}
	done := func(error) {}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Publish(m, done)
		full.got, full.qos = full.got[:0], full.qos[:0]
		full.room = 0
		full.grow(1)
	}
}
