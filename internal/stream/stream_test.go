package stream

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
)

// TestReadsInOrder publishes, and reads from each beginning, before and after a restart.
func TestReadsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.publish(1, 50)
		time.Sleep(time.Hour)
		at := time.Now()
		w.publish(51, 50)
		latest := w.open("", Latest)
		check := func() {
			t.Helper()
			for name, x := range map[string]struct {
				from Start
				want []int
			}{
				"first":        {First, upTo(1, 101)},
				"after":        {After(60), upTo(61, 101)},
				"after 0":      {After(0), upTo(1, 101)},
				"after end":    {After(1 << 60), nil},
				"after all":    {After(1<<64 - 1), nil},
				"time":         {At(at), upTo(51, 101)},
				"before":       {At(time.Unix(0, 0)), upTo(1, 101)},
				"later":        {At(at.Add(time.Hour)), nil},
				"in the gap":   {At(at.Add(-time.Minute)), upTo(51, 101)},
				"latest there": {Latest, nil},
			} {
				r := w.open("", x.from)
				if got, missed := w.rest(r); !slices.Equal(got, x.want) || missed != 0 {
					t.Errorf("%s: %v, missed %d", name, got, missed)
				}
				r.Close()
			}
		}
		check()
		w.publish(101, 1)
		if got, _ := w.rest(latest); !slices.Equal(got, []int{101}) {
			t.Errorf("latest: %v", got)
		}
		w.restart()
		info := w.s.Info()
		if info.First != 1 || info.End != 102 || info.Bytes < 101*200 || info.Oldest.IsZero() || info.Err != nil {
			t.Errorf("%+v", info)
		}
	})
}

// TestEntryIsWholeMessage checks that nothing of a message is lost on its way.
func TestEntryIsWholeMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Filters: []string{"t/#", "t/+", "$presence/#"}})
		m := &message.Message{
			Topic: "t/x", Payload: []byte("p"), ContentType: "text/plain", Source: "meter", Time: 17, QoS: message.ExactlyOnce, Retain: true,
			Properties: []message.Property{{Key: "k", Value: "v"}},
			Request:    &message.Request{ResponseTopic: "r", CorrelationData: []byte{}},
		}
		if err := w.send(m); err != nil {
			t.Fatal(err)
		}
		if err := w.send(&message.Message{Topic: "$presence/meter", QoS: message.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
		if err := w.send(&message.Message{Topic: "u", QoS: message.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
		r := w.open("", First)
		batch, _, err := r.Take(t.Context(), 10, 1<<20, nil)
		if err != nil || len(batch) != 2 {
			t.Fatalf("%v, %v", batch, err)
		}
		got := batch[0].Message
		m.Retain = false
		if !got.Equal(m) || got.Source != "meter" || got.Time != 17 || !got.Kept || got.ID == 0 || batch[0].Place != 1 ||
			!batch[0].Time.Equal(time.UnixMilli(time.Now().UnixMilli())) {
			t.Errorf("%+v", got)
		}
		if batch[1].Message.Topic != "$presence/meter" {
			t.Errorf("%+v", batch[1].Message)
		}
	})
}

// TestTakeBounds checks that a batch keeps its bounds, and that Take waits and is ended.
func TestTakeBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		r := w.open("", First)
		w.publish(1, 10) // of 203 bytes each
		for _, x := range []struct{ messages, bytes, want int }{{3, 1 << 20, 3}, {100, 500, 2}, {100, 1, 1}, {0, 0, 1}, {100, 609, 3}} {
			batch, missed, err := r.Take(t.Context(), x.messages, x.bytes, nil)
			if err != nil || len(batch) != x.want || missed != 0 {
				t.Fatalf("%d messages, %d bytes: %d, %v", x.messages, x.bytes, len(batch), err)
			}
			if next := batch[len(batch)-1].Place + 1; r.Place() != next {
				t.Errorf("the next place is %d, not %d", r.Place(), next)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := r.Take(ctx, 1, 1, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without entries: %v", err)
		}
		go func() {
			time.Sleep(time.Second)
			w.publish(11, 1)
		}()
		if batch, _, err := r.Take(t.Context(), 5, 1000, nil); err != nil || len(batch) != 1 || numberOf(t, batch[0]) != 11 {
			t.Errorf("%v, %v", batch, err)
		}
		go func() {
			time.Sleep(time.Second)
			r.Close()
			r.Close()
		}()
		if _, _, err := r.Take(t.Context(), 1, 1, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		r = w.open("", First)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			time.Sleep(time.Second)
			w.stop()
		}()
		defer func() { <-stopped }()
		for {
			if _, _, err := r.Take(t.Context(), 1, 1, nil); err != nil {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("the end of the node: %v", err)
				}
				break
			}
		}
	})
}

// TestConsumerGoesOn reads by name over restarts and kills: from the place that was acknowledged, which never moves back.
func TestConsumerGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.publish(1, 20)
		r := w.open("billing", After(5))
		if got, _ := w.rest(r); !slices.Equal(got, upTo(6, 21)) {
			t.Fatalf("%v", got)
		}
		w.acknowledge("billing", 11)
		w.acknowledge("billing", 3)                                   // no way back
		for _, again := range []func(){func() {}, w.restart, func() { // a kill: what was not safe is lost
			w.values.held = true
			w.s.Acknowledge("billing", 15, func(error) {})
			left := w.disk.Copy()
			safe := w.values.kept()
			w.values.held = false
			w.values.release()
			w.stop()
			w.disk, w.values = left, newPlaces(safe)
			w.start()
		}} {
			again()
			r := w.open("billing", First)
			if got, missed := w.rest(r); !slices.Equal(got, upTo(11, 21)) || missed != 0 {
				t.Errorf("%v, missed %d", got, missed)
			}
			info := w.s.Info()
			if len(info.Consumers) != 1 {
				t.Fatalf("%+v", info)
			}
			c := info.Consumers[0]
			if c.Name != "billing" || c.Place != 11 || !c.Reading || c.Missed != 0 || c.Lag.Messages != 10 || c.Lag.Bytes < 2000 || c.Lag.Bytes > info.Bytes {
				t.Errorf("%+v", c)
			}
		}
		for name, want := range map[string]error{"nobody": ErrConsumer, "billing": ErrPlace} {
			answer := make(chan error, 1)
			w.s.Acknowledge(name, 22, func(err error) { answer <- err })
			if err := <-answer; !errors.Is(err, want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestLagAges checks the age of what a consumer has not read.
func TestLagAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.open("c", First)
		w.publish(1, 1)
		time.Sleep(time.Minute)
		w.publish(2, 1)
		time.Sleep(time.Minute)
		w.acknowledge("c", 1)
		for place, want := range []Lag{1: {2, 0, 2 * time.Minute}, 2: {1, 0, time.Minute}, 3: {}} {
			if place == 0 {
				continue
			}
			w.acknowledge("c", uint64(place))
			got := w.s.Info().Consumers[0].Lag
			if got.Messages != want.Messages || got.Age.Round(time.Second) != want.Age || (got.Bytes > 0) != (want.Messages > 0) {
				t.Errorf("at %d: %+v", place, got)
			}
		}
	})
}

func TestNewestReaderWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		old := w.open("c", First)
		other := w.open("d", First)
		told := make(chan error, 1)
		go func() {
			_, _, err := old.Take(t.Context(), 1, 1, nil)
			told <- err
		}()
		synctest.Wait()
		r := w.open("c", First)
		if err := <-told; !errors.Is(err, ErrTakenOver) {
			t.Errorf("%v", err)
		}
		old.Close() // changes nothing
		w.publish(1, 1)
		for _, r := range []*Reader{r, other} {
			if got, _ := w.rest(r); !slices.Equal(got, []int{1}) {
				t.Errorf("%v", got)
			}
		}
		if n := w.s.Info().Readers; n != 2 {
			t.Errorf("%d readers", n)
		}
		if err := w.s.DeleteConsumer("c", func(err error) { told <- err }); err != nil || <-told != nil {
			t.Error(err)
		}
		if _, _, err := r.Take(t.Context(), 1, 1, nil); !errors.Is(err, ErrDeleted) {
			t.Errorf("%v", err)
		}
		if err := w.s.DeleteConsumer("c", nil); !errors.Is(err, ErrConsumer) {
			t.Errorf("%v", err)
		}
		w.restart()
		if all := w.s.Info().Consumers; len(all) != 1 || all[0].Name != "d" {
			t.Errorf("%+v", all)
		}
	})
}

// TestNewConsumerIsSafeFirst checks that a reader begins when the store has its consumer.
func TestNewConsumerIsSafeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		w.publish(1, 1)
		w.values.held = true
		r := w.open("c", First)
		if _, _, err := r.Take(ended, 1, 1, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("before it is safe: %v", err)
		}
		w.values.err = errors.New("disk")
		w.values.release()
		if _, _, err := r.Take(t.Context(), 1, 1, nil); err == nil || err.Error() != "disk" {
			t.Errorf("refused: %v", err)
		}
		r = w.open("c", First)
		if _, _, err := r.Take(ended, 1, 1, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("still not safe: %v", err)
		}
		w.values.err, w.values.held = nil, false
		r = w.open("c", Latest)
		if batch, _, err := r.Take(t.Context(), 1, 1, nil); err != nil || numberOf(t, batch[0]) != 1 {
			t.Errorf("%v", err)
		}
		w.values.held = true
		if got, _ := w.rest(w.open("c", Latest)); !slices.Equal(got, []int{1}) {
			t.Errorf("a known one waits: %v", got)
		}
		w.values.held = false
		w.values.release()
	})
}

func TestBoundsOfAudience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		for i := range mostConsumers {
			w.open(string(rune('a'+i/10))+string(rune('0'+i%10)), First)
		}
		if _, err := w.s.Open("one more", First); !errors.Is(err, ErrTooMany) {
			t.Errorf("%v", err)
		}
		var last *Reader
		for range mostReaders - mostConsumers {
			last = w.open("", Latest)
		}
		if _, err := w.s.Open("", First); !errors.Is(err, ErrTooMany) {
			t.Errorf("%v", err)
		}
		w.open("a0", First) // takes over
		last.Close()
		w.open("", First)
		for _, name := range []string{"a/b", "+", "#", "a\x00", "\xff", "a\n", string(make([]byte, 129))} {
			if _, err := w.s.Open(name, First); !errors.Is(err, ErrName) {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}

// TestDropOldest fills a stream: it keeps what fits, and tells each consumer how many entries it missed.
func TestDropOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{MaxBytes: 4 * 8 << 10})
		reader, half := w.open("away", First), w.open("half", First)
		unnamed := w.open("", First)
		reader.Close()
		w.publish(1, 10)
		if got, _ := w.rest(half); !slices.Equal(got, upTo(1, 11)) {
			t.Fatalf("%v", got)
		}
		w.acknowledge("half", 6)
		w.publish(11, 200)
		synctest.Wait()
		info := w.s.Info()
		first := int(info.First)
		if first < 100 || info.End != 211 || info.Disk > int64(w.config.MaxBytes) || info.Err != nil {
			t.Fatalf("%+v", info)
		}
		for _, c := range info.Consumers {
			want := map[string]int{"away": first - 1, "half": first - 6}[c.Name]
			if c.Missed != uint64(want) || c.Place != info.First {
				t.Errorf("%+v, want %d missed", c, want)
			}
		}
		for name, x := range map[string]struct {
			r      *Reader
			missed int
		}{"away": {w.open("away", Latest), first - 1}, "half": {half, first - 11}, "unnamed": {unnamed, first - 1}} {
			got, missed := w.rest(x.r)
			if !slices.Equal(got, upTo(first, 211)) || missed != uint64(x.missed) {
				t.Errorf("%s: %v, missed %d of %d", name, got, missed, x.missed)
			}
		}
		if got := w.s.Stats(); got.Full+got.Failing != 0 {
			t.Errorf("%+v", got)
		}
		before := w.s.Info().Consumers
		w.acknowledge("half", info.End)
		w.restart()
		if after := w.s.Info().Consumers; after[1].Missed != before[1].Missed || after[0].Missed < before[0].Missed-40 {
			t.Errorf("%+v before, %+v after", before, after)
		}
	})
}

// TestRefuse fills a stream that refuses: it goes on as consumers acknowledge.
func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{MaxBytes: 4 * 8 << 10, WhenFull: Refuse})
		w.open("slow", First)
		w.open("fast", First)
		fill := func(from int) int {
			t.Helper()
			for n := from; n < from+1000; n++ {
				err := w.one(n, message.AtLeastOnce)
				synctest.Wait()
				if err == nil {
					continue
				}
				if !errors.Is(err, router.ErrTooLate) {
					t.Fatal(err)
				}
				return n
			}
			t.Fatal("never full")
			return 0
		}
		n := fill(1)
		if n < 60 {
			t.Fatalf("full after %d", n)
		}
		if err := w.one(0, message.AtMostOnce); err != nil {
			t.Error(err)
		}
		if l := w.s.Ledger(); l.Taken != uint64(n)+1 || l.Acknowledged != uint64(n)-1 || l.Dropped.Sum() != 2 || l.Waiting != 0 {
			t.Errorf("%+v", l)
		}
		if d := &w.router.Drops; d[router.StreamFull].Load() != 2 || d[router.StreamFailing].Load() != 0 || w.s.Stats().Full != 2 {
			t.Errorf("%d drops, %+v", d[router.StreamFull].Load(), w.s.Stats())
		}
		if w.set.Err() != nil || w.s.Info().Err == nil {
			t.Errorf("%v, %v", w.set.Err(), w.s.Info().Err)
		}
		w.acknowledge("fast", uint64(n))
		if err := w.one(0, message.AtLeastOnce); err == nil {
			t.Error("taken, although slow has acknowledged nothing")
		}
		w.values.held = true
		w.s.Acknowledge("slow", uint64(n)/2, func(error) {})
		if err := w.one(0, message.AtLeastOnce); err == nil {
			t.Error("taken, although what slow has acknowledged is not safe")
		}
		w.values.held = false
		w.values.release()
		m := fill(n)
		if m-n < 15 || m-n > 45 {
			t.Errorf("took %d after half was acknowledged", m-n)
		}
		if got, missed := w.rest(w.open("slow", First)); missed != 0 || !slices.Equal(got, upTo(n/2, m)) {
			t.Errorf("missed %d, got %v", missed, got)
		}
		if err := w.s.DeleteConsumer("slow", func(error) {}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if k := fill(m); k < m+15 {
			t.Error("still full without the slow one")
		}
	})
}

// TestWaitsForRoom publishes more than may wait for a sync at once: all is taken in the end, in order.
func TestWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{})
		const n = 500
		answers := make(chan error, n)
		for i := range n {
			m := &message.Message{Topic: "t/a", Payload: []byte{byte('0' + i%10)}, QoS: message.AtLeastOnce}
			if result, err := w.router.Publish(m, func(err error) { answers <- err }); !result.Later {
				answers <- err // it was answered before Publish returned
			}
		}
		for range n {
			if err := <-answers; err != nil {
				t.Fatal(err)
			}
		}
		got, _ := w.rest(w.open("", First))
		for i, x := range got {
			if x != i%10 {
				t.Fatalf("entry %d is %d", i, x)
			}
		}
		if len(got) != n || w.s.Info().End != n+1 {
			t.Errorf("%d", len(got))
		}
		if err := w.send(&message.Message{Topic: "t/a", Payload: make([]byte, 3<<10), QoS: message.AtLeastOnce}); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
	})
}

// TestMaxAge checks that entries go when they are old, from the eyes of readers at once.
func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{MaxAge: time.Hour})
		c := w.open("c", First)
		w.publish(1, 100)
		time.Sleep(40 * time.Minute)
		w.publish(101, 100)
		time.Sleep(30 * time.Minute)
		if got, missed := w.rest(w.open("", First)); !slices.Equal(got, upTo(101, 201)) || missed != 0 {
			t.Errorf("%v, missed %d", got, missed)
		}
		if got, missed := w.rest(c); !slices.Equal(got, upTo(101, 201)) || missed != 100 {
			t.Errorf("%v, missed %d", got, missed)
		}
		if s := w.s.Stats().Journal; s.First < 60 || s.First > 101 {
			t.Errorf("the journal has %d to %d", s.First, s.End)
		}
		if i := w.s.Info(); i.First != 101 || i.Consumers[0].Missed != 100 {
			t.Errorf("%+v", i)
		}
		if err := w.set.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		w.start()
		if got, _ := w.rest(w.open("", First)); len(got) != 0 {
			t.Errorf("%v", got)
		}
		w.publish(201, 1)
		if got, _ := w.rest(w.open("", First)); !slices.Equal(got, []int{201}) {
			t.Errorf("%v", got)
		}
	})
}
