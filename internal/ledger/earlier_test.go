package ledger

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// Lives end in order or are killed, and the next one finds some of what waited. What became of all that was taken is known, lost, not
// known, or carried; nothing else, and nothing is guessed.
func TestEarlierLives(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	var e *Earlier
	for i, x := range []struct {
		life  life
		found uint64
		want  string
	}{
		{life{Ended: true, Receivers: Receiver{Taken: 10, Acknowledged: 6, Waiting: 4}}, 4,
			"lives 1 killed 0 taken 10 lost 0 unknown 0 carried 4 gaps []"},
		{life{Ended: true, Receivers: Receiver{Found: 4, Taken: 1, Acknowledged: 2, Waiting: 3}}, 1, // the disk has lost two
			"lives 2 killed 0 taken 11 lost 2 unknown 0 carried 1 gaps []"},
		{life{Receivers: Receiver{Found: 1, Taken: 5, Delivered: 1, Waiting: 5}}, 2, // three more went than came, in an unknown time
			"lives 3 killed 1 taken 16 lost 2 unknown 3 carried 2 gaps [3]"},
		{life{Receivers: Receiver{Found: 2, Waiting: 2}}, 9, // it took at least seven that it could not save
			"lives 4 killed 2 taken 16 lost 2 unknown -4 carried 9 gaps [3 -7]"},
		{life{Ended: true, Receivers: Receiver{Found: 9, Dropped: Counts{{"expired", 8}}, Waiting: 1}}, 2, // what nobody has taken
			"lives 5 killed 2 taken 16 lost 2 unknown -5 carried 2 gaps [3 -7 -1]"},
	} {
		x.life.Version, x.life.Earlier, x.life.Since, x.life.Saved = version, e, at(10*i), at(10*i+5)
		value, err := json.Marshal(x.life)
		if err != nil {
			t.Fatal(err)
		}
		l, err := parse(value)
		if err != nil {
			t.Fatal(err)
		}
		if d := l.Receivers.Difference(); d != 0 {
			t.Fatalf("life %d does not balance: %d", i, d)
		}
		e = l.over(x.found, at(10*i+7))
		gaps := []int64{}
		for _, g := range e.Gaps {
			gaps = append(gaps, g.Unknown)
		}
		got := fmt.Sprintf("lives %d killed %d taken %d lost %d unknown %d carried %d gaps %d",
			e.Lives, e.Killed, e.Receivers.Taken, e.Receivers.Lost.Sum(), e.Unknown, e.Carried, gaps)
		if got != x.want || e.Difference() != 0 || !e.Since.Equal(at(0)) {
			t.Errorf("after life %d:\n\t%s, want\n\t%s; difference %d, since %v", i, got, x.want, e.Difference(), e.Since)
		}
	}
	if g := e.Gaps[0]; !g.From.Equal(at(25)) || !g.To.Equal(at(27)) {
		t.Errorf("nothing is known from %v to %v", g.From, g.To)
	}
	for range 2 * mostGaps {
		e = (&life{Earlier: e, Receivers: Receiver{Found: 2, Waiting: 2}}).over(2, at(99))
	}
	if len(e.Gaps) != mostGaps || !e.Gaps[0].To.Equal(at(99)) {
		t.Errorf("%d gaps, the oldest %v", len(e.Gaps), e.Gaps[0])
	}
}

func TestParseRefuses(t *testing.T) {
	for _, value := range []string{"{", `{"version":2}`, "{}"} {
		if l, err := parse([]byte(value)); err == nil {
			t.Errorf("%s: %+v", value, l)
		}
	}
}
