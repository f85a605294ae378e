package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
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

// report prints the counts, and the history of what is lost.
func (r *run) report(w io.Writer, v *verdict) {
	fmt.Fprintf(w, "kills %d (%d while it started), stopped %d times, disk filled %d times, not ready %d times, ended by itself on a full disk %d times, connections cut %d\n",
		r.kills, r.early, r.stops, r.fills, r.unready, r.ended, r.fleet.cuts.Load())
	fmt.Fprintf(w, "sent %d, acknowledged %d, refused %d, wills due %d, arrived %d, twice %d, twice of QoS 2 %d (and %d in streams or while the disk failed), behind a lost refusal %d\n",
		v.Sent, v.Acked, v.Refused, v.Wills, v.Arrived, v.Twice, len(v.QoS2Twice), v.QoS2Excused, v.DisorderExcused)
	if r.commands != nil {
		fmt.Fprintln(w, r.commands)
	}
	if r.sinks != nil {
		fmt.Fprintln(w, r.sinks)
	}
	fmt.Fprintln(w, r.ledger)
	fmt.Fprintf(w, "lost %d, out of order %d, unwanted %d, faults %d\n", len(v.Lost), len(v.Disordered), len(v.Unwanted), len(v.Faults))
	for _, f := range v.Faults[:min(len(v.Faults), 10*shown)] {
		fmt.Fprintln(w, "  ", f)
	}
	for _, name := range slices.Sorted(maps.Keys(r.book.open())) {
		events := r.book.last(name, most)
		fmt.Fprintf(w, "\nno answer: the last of %s\n", name)
		for _, e := range events {
			fmt.Fprintf(w, "   %10v %.300s\n", e.at.Round(100*time.Microsecond), e.text)
		}
	}
	r.histories(w, "lost", v.Lost)
	r.histories(w, "out of order", v.Disordered)
	r.histories(w, "unwanted", v.Unwanted)
	r.histories(w, "twice", v.QoS2Twice[:min(len(v.QoS2Twice), 3)])
}

// histories prints the findings of a kind; the first ones with what the clients and the gateway did.
func (r *run) histories(w io.Writer, kind string, list []finding) {
	slices.SortStableFunc(list, func(a, b finding) int { return cmp.Compare(a.when(), b.when()) })
	for i := range list {
		if i == listed {
			fmt.Fprintf(w, "\n%s: %d more\n", kind, len(list)-i)
			return
		}
		f := &list[i]
		fmt.Fprintf(w, "\n%s: %s %d, of QoS %d, for %s: %s\n", kind, f.topic.name, f.number, f.topic.qos, f.who(), f.text)
		if i >= shown {
			continue
		}
		if f.number < 0 || f.number >= len(f.topic.sent) {
			continue
		}
		s := f.topic.sent[f.number]
		fmt.Fprintf(w, "   sent %v, last %v (%d times), acknowledged %v, refused %v\n", s.first, s.last, s.tries, s.acked, s.refused)
		r.show(w, f.topic.publisher, s)
		if f.receiver != nil {
			for _, a := range f.receiver.arrived[f.topic.name] {
				if a.number >= f.number-2 && a.number <= f.number+2 {
					fmt.Fprintf(w, "   %s got %d at %v\n", f.receiver.name, a.number, a.at)
				}
			}
			for _, i := range f.receiver.interests {
				fmt.Fprintf(w, "   %s %s: asked %v, from %v, ending %v, to %v\n", f.receiver.name, i.filter, i.asked, i.from, i.ending, i.to)
			}
			r.show(w, f.receiver.name, s)
		}
		r.show(w, "gateway", s)
		lines(w, "log", r.gateway.log(), s)
	}
}

func (f *finding) when() time.Duration {
	if f.number < 0 || f.number >= len(f.topic.sent) {
		return 0
	}
	return f.topic.sent[f.number].first
}

func (f *finding) who() string {
	if f.receiver == nil {
		return "a new subscriber"
	}
	return f.receiver.name
}

// show prints what a client did around a message's sending and acknowledgement.
func (r *run) show(w io.Writer, client string, s sending) {
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	lines(w, client, r.book.events[client], s)
}

func lines(w io.Writer, name string, list []event, s sending) {
	n := 0
	for _, e := range list {
		if e.at < s.first-around || e.at > max(s.acked, s.last)+around {
			continue
		}
		if n++; n > most {
			fmt.Fprintf(w, "   %s: ... more\n", name)
			return
		}
		fmt.Fprintf(w, "   %10v %s: %.300s\n", e.at.Round(100*time.Microsecond), name, strings.ReplaceAll(e.text, "\n", "; "))
	}
}

// log returns the lines of the gateway's log.
func (g *gateway) log() []event {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.lines)
}

// writeLog writes the gateway's log to a file.
func (g *gateway) writeLog(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for _, e := range g.log() {
		fmt.Fprintf(w, "%12v %s\n", e.at.Round(100*time.Microsecond), e.text)
	}
	return errors.Join(w.Flush(), f.Close())
}
