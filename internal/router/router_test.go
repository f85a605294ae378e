package router

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// receiver has a queue of a given length, and a line behind it.
type receiver struct {
	mu      sync.Mutex
	room    int
	refuses error
	got     []*message.Message
	qos     []message.QoS
	waiting Waiting
}

func (r *receiver) Deliver(m *message.Message, q message.QoS, p *Publication) error {
	return r.Offer(m, q, Terms{Wait: true}, p)
}

func (r *receiver) Offer(m *message.Message, q message.QoS, t Terms, p *Publication) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.offer(m, q)
	if t.Wait && errors.Is(err, ErrFull) {
		r.waiting.config, r.waiting.onDeadline = WaitingConfig{}.withDefaults(), r.late
		r.waiting.Add(m, q, p)
		return nil
	}
	return err
}

func (*receiver) State() State { return Free }

func (r *receiver) offer(m *message.Message, q message.QoS) error {
	switch {
	case r.refuses != nil:
		return r.refuses
	case r.waiting.Len() > 0 || !r.take(m, q):
		return ErrFull
	}
	return nil
}

func (r *receiver) take(m *message.Message, q message.QoS) bool {
	if len(r.got) >= r.room {
		return false
	}
	r.got, r.qos = append(r.got, m), append(r.qos, q)
	return true
}

func (r *receiver) late() {
	r.mu.Lock()
	late := r.waiting.Overdue(time.Now())
	r.mu.Unlock()
	Tell(late, ErrTooLate)
}

func (r *receiver) grow(n int) {
	r.mu.Lock()
	r.room += n
	admitted := r.waiting.Admit(nil, func(x Held) error {
		if !r.take(x.Message, x.QoS) {
			return ErrFull
		}
		return nil
	})
	r.mu.Unlock()
	Tell(admitted, nil)
}

// answers are what publishers were told, in order.
type answers struct {
	mu  sync.Mutex
	log []string
}

func (a *answers) to(name string) func(error) {
	return func(err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.log = append(a.log, fmt.Sprint(name, " ", err))
	}
}

func (a *answers) are(t *testing.T, want ...string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Equal(a.log, want) {
		t.Errorf("answers %q, want %q", a.log, want)
	}
	a.log = nil
}

func newRouter() *Router { return New(Config{}, store.NewMemory(store.Options{})) }

func (r *Router) dropped() map[string]uint64 {
	drops := map[string]uint64{}
	r.Drops.Each(func(label string, n uint64) {
		if n > 0 {
			drops[label] = n
		}
	})
	return drops
}

func TestPublish(t *testing.T) {
	r := newRouter()
	zero, one := &receiver{room: 9}, &receiver{room: 9}
	r.Subscribe("a/+", zero, 0)
	r.Subscribe("a/#", one, 0)
	r.Subscribe("a/b", one, 1)
	m := &message.Message{Topic: "a/b", Payload: []byte("x"), QoS: 1, Retain: true}
	if got, err := r.Publish(m, nil); got != (Result{Receivers: 2}) || err != nil {
		t.Fatal(got, err)
	}
	m.Payload[0] = 'y' // borrowed: the receivers have a copy, and share it
	got := one.got[0]
	if string(got.Payload) != "x" || got != zero.got[0] || got.ID == 0 || got.Retain {
		t.Errorf("%+v", got)
	}
	if zero.qos[0] != 0 || one.qos[0] != 1 || len(one.got) != 1 {
		t.Errorf("QoS %v, %v", zero.qos, one.qos)
	}
	r.Unsubscribe("a/+", zero)
	if got, _ := r.Publish(m, nil); got.Receivers != 1 {
		t.Errorf("%+v", got)
	}
	if s := r.Stats(); s != (Stats{Published: 2, Delivered: 3, Filters: 2, Subscriptions: 2}) {
		t.Errorf("%+v", s)
	}
}

func TestPublishRetained(t *testing.T) {
	r := New(Config{}, store.NewMemory(store.Options{Retained: store.RetainedLimits{Count: 1}}))
	retained := func() (found []string) {
		all, _, _ := r.Search([]topic.Subscription{{Filter: "#"}}, false).Next(make([]store.Kept, 0, 9), 9, time.Now())
		for _, m := range all {
			found = append(found, fmt.Sprintf("%s=%s %t", m.Topic, m.Payload, m.Retain))
		}
		return found
	}
	keep := func(name, payload string) error {
		_, err := r.Publish(&message.Message{Topic: name, Payload: []byte(payload), Retain: true}, nil)
		return err
	}
	for _, payload := range []string{"1", "2"} {
		if err := keep("a", payload); err != nil {
			t.Fatal(err)
		}
	}
	one := &receiver{room: 9}
	r.Subscribe("#", one, 1)
	if err := keep("b", "x"); err != nil || len(one.got) != 1 {
		t.Errorf("%v, %d delivered", err, len(one.got))
	}
	r.Unsubscribe("#", one)
	if err := keep("b", "x"); !errors.Is(err, store.ErrFull) {
		t.Error(err)
	}
	r.Subscribe("#", one, 1)
	if got := retained(); !slices.Equal(got, []string{"a=2 true"}) {
		t.Errorf("%q", got)
	}
	if err := keep("a", ""); err != nil || len(retained()) != 0 || len(one.got) != 2 {
		t.Errorf("%v, %q, %d delivered", err, retained(), len(one.got))
	}
	if got, want := r.dropped(), map[string]uint64{"refused": 1}; !maps.Equal(got, want) {
		t.Errorf("drops %v", got)
	}
	r.NotRetained.Each(func(label string, n uint64) {
		if label == store.OfNode && n != 2 || label != store.OfNode && n != 0 {
			t.Errorf("%d not retained because of %s", n, label)
		}
	})
}

func TestPublishWaits(t *testing.T) {
	r := newRouter()
	var a answers
	one, two, free := &receiver{}, &receiver{room: 1}, &receiver{room: 9}
	for _, s := range []*receiver{one, two, free} {
		r.Subscribe("a", s, 1)
	}
	for i := range 3 {
		name := fmt.Sprint(i)
		got, err := r.Publish(&message.Message{Topic: "a", Payload: []byte(name), QoS: 1}, a.to(name))
		if got != (Result{Receivers: 3, Later: true}) || err != nil {
			t.Fatal(got, err)
		}
	}
	one.grow(2)
	a.are(t, "0 <nil>") // the second receiver had room for one
	two.grow(2)
	a.are(t, "1 <nil>")
	one.grow(1)
	a.are(t, "2 <nil>")
	for _, s := range []*receiver{one, two, free} {
		for i, m := range s.got {
			if string(m.Payload) != fmt.Sprint(i) {
				t.Errorf("%s at %d", m.Payload, i)
			}
		}
	}
}

func TestPublishIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		var a answers
		full, never := &receiver{}, &receiver{refuses: store.ErrTooLarge}
		r.Subscribe("full", full, 1)
		r.Subscribe("never", never, 1)
		r.Subscribe("+", &receiver{room: 9}, 1)
		publish := func(name string) (bool, error) {
			got, err := r.Publish(&message.Message{Topic: name, QoS: 1}, a.to(name))
			return got.Later, err
		}
		if later, err := publish("never"); later || !errors.Is(err, store.ErrTooLarge) {
			t.Error(later, err)
		}
		a.are(t) // the error was final
		if later, err := publish("full"); !later || err != nil {
			t.Error(later, err)
		}
		r.Subscribe("full", never, 1)
		if later, err := publish("full"); !later || err != nil {
			t.Error(later, err)
		}
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		a.are(t)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		a.are(t, "full "+ErrTooLate.Error(), "full "+store.ErrTooLarge.Error()) // the first reason counts
		if got, want := r.dropped(), map[string]uint64{"refused": 2}; !maps.Equal(got, want) {
			t.Errorf("drops %v, want %v", got, want)
		}
	})
}

// What nobody wants to be told of waits for room like any other, and is refused in the end like any other.
func TestPublishWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRouter()
		full := &receiver{}
		r.Subscribe("a", full, 1)
		for range 2 {
			if got, err := r.Publish(&message.Message{Topic: "a", QoS: 1}, nil); !got.Later || err != nil {
				t.Error(got, err)
			}
		}
		full.grow(1)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(full.got) != 1 || full.waiting.Len() != 0 {
			t.Errorf("%d came, %d wait", len(full.got), full.waiting.Len())
		}
	})
}

func TestPublishToNobodyDoesNotAllocate(t *testing.T) {
	r := newRouter()
	for i := range 1000 {
		r.Subscribe(fmt.Sprintf("device/%d/#", i), &receiver{}, 1)
	}
	m := &message.Message{Topic: "device/nobody/telemetry", Payload: []byte("x"), QoS: 1}
	done := func(error) {}
	if n := testing.AllocsPerRun(1000, func() { _, _ = r.Publish(m, done) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{0, 1, 100} {
		b.Run(fmt.Sprint("receivers=", n), func(b *testing.B) {
			r := newRouter()
			for i := range 100_000 {
				r.Subscribe(fmt.Sprintf("device/%d/#", i), &sinkhole{}, 1)
			}
			for range n {
				r.Subscribe("up/+", &sinkhole{new(int)}, 1)
			}
			m := &message.Message{Topic: "up/telemetry", Payload: make([]byte, 128), QoS: 1}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.Publish(m, nil)
			}
		})
	}
}

// sinkhole takes and forgets; it is not of size 0, so that each is another.
type sinkhole struct{ _ *int }

func (*sinkhole) Deliver(*message.Message, message.QoS, *Publication) error { return nil }

// failing is a store that can make nothing safe while err is set.
type failing struct {
	store.Store
	err error
}

func (f *failing) Err() error { return f.err }

// While the store fails, what would have to be kept is refused, and nothing else.
func TestStoreFails(t *testing.T) {
	f := &failing{store.NewMemory(store.Options{}), errors.New("the disk is full")}
	r := New(Config{}, f)
	s := &receiver{room: 10}
	r.Subscribe("a", s, message.ExactlyOnce)
	for _, c := range []struct {
		m       *message.Message
		refused bool
	}{
		{&message.Message{Topic: "a", QoS: message.AtLeastOnce}, true},
		{&message.Message{Topic: "b", Retain: true, Payload: []byte("x")}, true},
		{&message.Message{Topic: "a"}, false},
		{&message.Message{Topic: "b", QoS: message.AtLeastOnce}, false}, // nobody keeps it
	} {
		_, err := r.Publish(c.m, nil)
		if got := errors.Is(err, ErrStore) && errors.Is(err, f.err); got != c.refused {
			t.Errorf("%s of QoS %d: %v", c.m.Topic, c.m.QoS, err)
		}
	}
	if n := r.Drops[StoreFails].Load(); n != 2 {
		t.Errorf("%d refusals are counted, want 2", n)
	}
	f.err = nil
	if _, err := r.Publish(&message.Message{Topic: "a", QoS: message.AtLeastOnce}, nil); err != nil {
		t.Errorf("when it works again: %v", err)
	}
}
