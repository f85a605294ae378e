package account

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	listed = 100             // findings of a kind that are named
	shown  = 10              // findings of a kind that are told in full
	around = 2 * time.Second // of a message's sending and acknowledgement, for which lines are shown
	most   = 60              // lines per client and finding
)

// Logs are lines with their times that are shown beside what a client did, by whose they are: a gateway's log, the faults of a run.
type Logs map[string][]Event

// WriteText prints what is broken, with the histories of the first findings of each kind.
func (v *Verdict) WriteText(w io.Writer, b *Book, logs Logs) {
	fmt.Fprintf(w, "lost %d, out of order %d, unwanted %d, faults %d\n", len(v.Lost), len(v.Disordered), len(v.Unwanted), len(v.Faults))
	for _, f := range v.Faults[:min(len(v.Faults), 10*shown)] {
		fmt.Fprintln(w, "  ", f)
	}
	open := slices.Sorted(maps.Keys(b.Open()))
	for _, name := range open[:min(len(open), shown)] {
		events := b.Last(name, most)
		fmt.Fprintf(w, "\nno answer: the last of %s\n", name)
		for _, e := range events {
			fmt.Fprintf(w, "   %10v %.300s\n", e.At.Round(100*time.Microsecond), e.Text)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.histories(w, "lost", v.Lost, logs)
	b.histories(w, "out of order", v.Disordered, logs)
	b.histories(w, "unwanted", v.Unwanted, logs)
	b.histories(w, "twice", v.QoS2Twice[:min(len(v.QoS2Twice), 3)], logs)
}

// histories prints the findings of a kind; the first ones with what the clients and others did.
func (b *Book) histories(w io.Writer, kind string, list []Finding, logs Logs) {
	slices.SortStableFunc(list, func(a, b Finding) int { return cmp.Compare(a.when(), b.when()) })
	for i := range list {
		if i == listed {
			fmt.Fprintf(w, "\n%s: %d more\n", kind, len(list)-i)
			return
		}
		f := &list[i]
		fmt.Fprintf(w, "\n%s: %s %d, of QoS %d, for %s: %s\n", kind, f.topic.Name, f.number, f.topic.QoS, f.who(), f.text)
		if i < shown && f.number >= 0 && f.number < len(f.topic.sent) {
			b.history(w, f, logs)
		}
	}
}

func (b *Book) history(w io.Writer, f *Finding, logs Logs) {
	s := f.topic.sent[f.number]
	fmt.Fprintf(w, "   sent %v, last %v (%d times), acknowledged %v, refused %v\n", s.first, s.last, s.tries, s.acked, s.refused)
	lines(w, f.topic.Publisher, b.events[f.topic.Publisher], s)
	if f.receiver != nil {
		for _, a := range f.receiver.arrived[f.topic.Name] {
			if a.number >= f.number-2 && a.number <= f.number+2 {
				fmt.Fprintf(w, "   %s got %d at %v\n", f.receiver.Name, a.number, a.at)
			}
		}
		for _, i := range f.receiver.interestsIn(f.topic) {
			fmt.Fprintf(w, "   %s %s: asked %v, from %v, ending %v, to %v\n", f.receiver.Name, i.Filter, i.Asked, i.From, i.Ending, i.To)
		}
		lines(w, f.receiver.Name, b.events[f.receiver.Name], s)
	}
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		lines(w, name, logs[name], s)
	}
}

func (f *Finding) when() time.Duration {
	if f.number < 0 || f.number >= len(f.topic.sent) {
		return 0
	}
	return f.topic.sent[f.number].first
}

func (f *Finding) who() string {
	if f.receiver == nil {
		return "a new subscriber"
	}
	return f.receiver.Name
}

// lines prints what happened around a message's sending and acknowledgement.
func lines(w io.Writer, name string, list []Event, s sending) {
	n := 0
	for _, e := range list {
		if e.At < s.first-around || e.At > max(s.acked, s.last)+around {
			continue
		}
		if n++; n > most {
			fmt.Fprintf(w, "   %s: ... more\n", name)
			return
		}
		fmt.Fprintf(w, "   %10v %s: %.300s\n", e.At.Round(100*time.Microsecond), name, strings.ReplaceAll(e.Text, "\n", "; "))
	}
}
