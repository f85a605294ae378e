package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/longline/longline/test/account"
)

// report prints the counts, and the history of what is lost.
func (r *run) report(w io.Writer, v *account.Verdict) {
	var parts []string
	for k, n := range r.player.done {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%v: %d", kind(k), n))
		}
	}
	fmt.Fprintf(w, "faults: %s; nodes that ended because they had been silent for too long: %d\n", strings.Join(parts, "; "), r.player.rejoined)
	count, _, slow, _ := r.fleet.Superseded.Report()
	fmt.Fprintf(w, "connections that devices ended or left %d; left open at a node %d, closed there after more than 5 s %d; on these came before the node was told %d, at most after %v; after that %d\n",
		r.fleet.Cuts.Load(), count, len(slow), r.told, r.slowest, r.twice)
	fmt.Fprintf(w, "sent %d, acknowledged %d, refused %d, arrived %d, twice %d, twice of QoS 2 %d (and %d in streams or while Redis failed), behind a lost refusal %d\n",
		v.Sent, v.Acked, v.Refused, v.Arrived, v.Twice, len(v.QoS2Twice), v.QoS2Excused, v.DisorderExcused)
	if r.commands != nil {
		fmt.Fprintln(w, r.commands)
	}
	fmt.Fprintln(w, r.agreed)
	logs := account.Logs{"faults": r.book.Last("faults", math.MaxInt)}
	for _, n := range r.cluster.nodes {
		logs[n.name] = n.gateway.Log()
	}
	v.WriteText(w, r.book, logs)
}
