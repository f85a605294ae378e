package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// ledger is the part of the gateway's ledger that can be compared with what the clients know.
type ledger struct {
	Kinds []struct {
		Kind                string
		Received, Published struct {
			Acknowledged uint64 `json:",string"`
			Waiting      uint64 `json:",string"`
		}
	}
	Balanced bool
}

// readLedger reads the ledger, which has to balance at every moment.
func (r *run) readLedger(ctx context.Context, admin *http.Client) (l ledger, err error) {
	status, err := r.gateway.post(ctx, admin, "GetLedger", map[string]any{}, &l)
	switch {
	case err != nil:
		return l, err
	case status != http.StatusOK:
		return l, fmt.Errorf("GetLedger: status %d", status)
	case !l.Balanced:
		r.book.fault(fmt.Sprintf("the ledger does not balance: %+v", l))
	}
	return l, nil
}

// counts are what the clients of all devices, or the gateway, count in one life of the gateway.
type counts struct {
	published uint64 // answers to publications that took them
	received  uint64 // acknowledgements of messages
}

// compareLedger restarts the gateway in order, lets the fleet work without cuts for a while, and compares the gateway's ledger of this life with what
// the clients counted. A kill or a cut loses answers, so that both sides may count differently.
func (r *run) compareLedger(ctx context.Context) error {
	const steady = 3 * time.Second
	r.fleet.steady.Store(true)
	r.gateway.stop()
	before := r.book.counts()
	if err := r.gateway.start(ctx, startTimeout); err != nil {
		return err
	}
	r.fleet.calm.Store(false)
	if err := r.until(ctx, r.book.now()+steady); err != nil {
		return err
	}
	r.fleet.calm.Store(true)
	admin := r.gateway.admin()
	defer admin.CloseIdleConnections()
	for limit := r.book.now() + 20*time.Second; ; r.fleet.pause(ctx, 100*time.Millisecond) {
		now := r.book.counts()
		want := counts{now.published - before.published, now.received - before.received}
		l, err := r.readLedger(ctx, admin)
		if err != nil {
			return err
		}
		var got counts
		for _, k := range l.Kinds {
			if k.Kind == "devices" {
				got = counts{k.Published.Acknowledged, k.Received.Acknowledged}
			}
		}
		r.ledger = fmt.Sprintf("ledger of the last life: acknowledged to devices %d, by devices %d; they count %d and %d",
			got.published, got.received, want.published, want.received)
		if got == want && len(r.book.open()) == 0 {
			return nil
		}
		if r.book.now() > limit {
			r.book.fault(r.ledger)
			return nil
		}
	}
}
