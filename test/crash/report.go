package main

import (
	"fmt"
	"io"
	"math"

	"github.com/longline/longline/test/account"
)

// report prints the counts, and the history of what is lost.
func (r *run) report(w io.Writer, v *account.Verdict) {
	fmt.Fprintf(w, "kills %d (%d while it started), stopped %d times, disk filled %d times, not ready %d times, ended by itself on a full disk %d times, connections cut %d\n",
		r.kills, r.early, r.stops, r.fills, r.unready, r.ended, r.fleet.Cuts.Load())
	fmt.Fprintf(w, "sent %d, acknowledged %d, refused %d, wills due %d, arrived %d, twice %d, twice of QoS 2 %d (and %d in streams or while the disk failed), behind a lost refusal %d\n",
		v.Sent, v.Acked, v.Refused, v.Wills, v.Arrived, v.Twice, len(v.QoS2Twice), v.QoS2Excused, v.DisorderExcused)
	if r.commands != nil {
		fmt.Fprintln(w, r.commands)
	}
	if r.sinks != nil {
		fmt.Fprintln(w, r.sinks)
	}
	fmt.Fprintln(w, r.ledger)
	v.WriteText(w, r.book, account.Logs{"log": r.gateway.Log(), "gateway": r.book.Last("gateway", math.MaxInt)})
}
