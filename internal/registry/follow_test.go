package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a Discovery whose answers a test makes. n counts the questions, from 1.
type scripted struct {
	pause time.Duration
	find  func(ctx context.Context, n int) ([]Instance, error)
	n     int
}

func (s *scripted) Find(ctx context.Context) ([]Instance, error) {
	s.n++
	return s.find(ctx, s.n)
}

func (s *scripted) Pause() time.Duration { return s.pause }

func (s *scripted) Close() {}

// followed is what Follow has told.
type followed struct {
	sets     [][]Instance
	problems []error
}

// follow follows d for a time.
func follow(t *testing.T, d Discovery, of time.Duration) (f followed) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), of)
	defer cancel()
	Follow(ctx, d, func(set []Instance) { f.sets = append(f.sets, set) }, func(err error) { f.problems = append(f.problems, err) })
	return f
}

// A registry may answer at once although nothing has changed, fail at once, or change all the time: it is asked at a bounded rate.
func TestFollowIsNoBusyLoop(t *testing.T) {
	one := []Instance{{URL: "http://10.0.0.1:1", Weight: 1}}
	for _, c := range []struct {
		what  string
		find  func(ctx context.Context, n int) ([]Instance, error)
		pause time.Duration
		most  int // questions in a minute
	}{
		{"answers the same at once", func(context.Context, int) ([]Instance, error) { return one, nil }, 0, 250},
		{"answers with nothing at once", func(context.Context, int) ([]Instance, error) { return nil, nil }, 0, 250},
		{"fails at once", func(context.Context, int) ([]Instance, error) { return nil, errors.New("no") }, 0, 60},
		{"always changes", func(_ context.Context, n int) ([]Instance, error) {
			return []Instance{{URL: fmt.Sprintf("http://10.0.0.1:%d", n)}}, nil
		}, 0, 700},
		{"fails every other time", func(_ context.Context, n int) ([]Instance, error) {
			if n%2 == 0 {
				return nil, errors.New("no")
			}
			return one, nil
		}, 0, 1500},
		{"never answers", func(ctx context.Context, _ int) ([]Instance, error) { <-ctx.Done(); return nil, ctx.Err() }, 0, 1},
		{"wants pauses", func(context.Context, int) ([]Instance, error) { return one, nil }, 10 * time.Second, 7},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &scripted{pause: c.pause, find: c.find}
			follow(t, d, time.Minute)
			if d.n > c.most {
				t.Errorf("one that %s was asked %d times in a minute", c.what, d.n)
			}
		})
	}
}

// A question that is never answered ends, and another one is asked.
func TestFollowGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &scripted{find: func(ctx context.Context, n int) ([]Instance, error) {
			if n == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []Instance{{URL: "http://10.0.0.1:1"}}, nil
		}}
		if f := follow(t, d, 2*time.Minute); len(f.sets) == 0 || f.problems[0] == nil || f.problems[len(f.problems)-1] != nil {
			t.Errorf("%v", f)
		}
	})
}

// An empty answer counts only when it lasts: a registry that has lost its memory does not take the instances away.
func TestFollowEmptyAnswers(t *testing.T) {
	one, two := []Instance{{"http://10.0.0.1:1", 1}}, []Instance{{"http://10.0.0.2:1", 1}}
	for _, c := range []struct {
		what    string
		answers [][]Instance // one every 10 s, the last one again and again
		want    [][]Instance
	}{
		{"none from the beginning", [][]Instance{nil}, [][]Instance{nil}},
		{"it lasts", [][]Instance{one, nil}, [][]Instance{one, nil}},
		{"it does not last", [][]Instance{one, nil, nil, nil, one}, [][]Instance{one}},
		{"others come", [][]Instance{one, nil, nil, two}, [][]Instance{one, two}},
		{"twice for a short time", [][]Instance{one, nil, nil, nil, nil, one, nil, nil, nil, nil, one}, [][]Instance{one}},
		{"they come back after it has lasted", [][]Instance{one, nil, nil, nil, nil, nil, nil, nil, nil, nil, one}, [][]Instance{one, nil, one}},
		{"it comes again after it has lasted", [][]Instance{one, nil, nil, nil, nil, nil, nil, nil, nil, one, nil, nil, one}, [][]Instance{one, nil, one}},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &scripted{pause: 10 * time.Second, find: func(_ context.Context, n int) ([]Instance, error) {
				return c.answers[min(n, len(c.answers))-1], nil
			}}
			f := follow(t, d, 10*time.Minute)
			if !slices.EqualFunc(f.sets, c.want, slices.Equal) || f.problems[len(f.problems)-1] != nil {
				t.Errorf("%s: kept %v, %v", c.what, f.sets, f.problems)
			}
			for i, err := range f.problems {
				if i > 0 && i < len(c.answers) && c.answers[i] == nil && len(c.answers[i-1]) > 0 && !errors.Is(err, errEmpty) {
					t.Errorf("%s: %v at the answer %d", c.what, err, i)
				}
			}
		})
	}
}

// What a registry writes into an error does not fill the log.
func TestFollowBoundsErrors(t *testing.T) {
	long := fmt.Errorf("no: %s", strings.Repeat("\u00e9", 1<<20))
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, &scripted{find: func(context.Context, int) ([]Instance, error) { return nil, long }}, time.Second)
		if text := f.problems[0].Error(); len(text) > maxProblem+10 || !strings.HasPrefix(text, "no: \u00e9") {
			t.Errorf("%d bytes", len(text))
		}
	})
}

// What a registry names is made sound: an order, no doubles, weights, bounds; what cannot be called is left out, and said.
func TestFollowMakesSetsSound(t *testing.T) {
	many := make([]Instance, maxInstances+1)
	for i := range many {
		many[i].URL = fmt.Sprintf("http://10.0.0.1:%d", i+1)
	}
	for _, c := range []struct {
		found []Instance
		want  []Instance
		size  int
		err   string
	}{
		{nil, nil, 0, ""},
		{
			[]Instance{{"http://b:1", 5}, {"http://a:1", -1}, {"http://b:1", 5}, {"http://c:1", 1 << 30}},
			[]Instance{{"http://a:1", 1}, {"http://b:1", 5}, {"http://c:1", maxWeight}}, 3, "",
		},
		{[]Instance{{"http://a:0", 1}, {"http://b:1", 1}}, []Instance{{"http://b:1", 1}}, 1, "no port 0"},
		{[]Instance{newInstance("http", "x@evil", "1", 1)}, nil, 0, "left out"},
		{[]Instance{newInstance("http", "evil/path?", "1", 1)}, nil, 0, "left out"},
		{[]Instance{newInstance("http", "", "1", 1)}, nil, 0, "left out"},
		{[]Instance{newInstance("http", "::1", "1", 1)}, []Instance{{"http://[::1]:1", 1}}, 1, ""},
		{[]Instance{newInstance("http", strings.Repeat("a", maxURL), "1", 1)}, nil, 0, "longer than"},
		{many, nil, maxInstances, "more than 1000"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := follow(t, &scripted{pause: time.Hour, find: func(context.Context, int) ([]Instance, error) { return c.found, nil }}, time.Minute)
			set, err := f.sets[0], f.problems[0]
			if len(set) != c.size || c.want != nil && !slices.Equal(set, c.want) {
				t.Errorf("%v: %v", c.found, set)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: %v, want %q", c.found, err, c.err)
			}
		})
	}
}
