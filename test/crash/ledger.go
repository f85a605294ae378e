package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/longline/longline/test/account"
	"github.com/longline/longline/test/clients"
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
func (r *run) readLedger(ctx context.Context, admin *clients.API) (l ledger, err error) {
	status, err := admin.Post(ctx, "GetLedger", map[string]any{}, &l)
	switch {
	case err != nil:
		return l, err
	case status != http.StatusOK:
		return l, fmt.Errorf("GetLedger: status %d", status)
	case !l.Balanced:
		r.book.Fault(fmt.Sprintf("the ledger does not balance: %+v", l))
	}
	return l, nil
}

// compareLedger restarts the gateway in order, lets the fleet work without cuts for a while, and compares the gateway's ledger of this life with what
// the clients counted. A kill or a cut loses answers, so that both sides may count differently.
func (r *run) compareLedger(ctx context.Context) error {
	const steady = 3 * time.Second
	r.fleet.Steady.Store(true)
	r.gateway.Stop()
	before := r.book.Counts()
	if err := r.gateway.Start(ctx, clients.StartTimeout); err != nil {
		return err
	}
	r.fleet.Calm.Store(false)
	if err := r.until(ctx, r.book.Now()+steady); err != nil {
		return err
	}
	r.fleet.Calm.Store(true)
	admin := clients.NewAPI(r.gateway, "admin")
	for limit := r.book.Now() + 20*time.Second; ; r.fleet.Pause(ctx, 100*time.Millisecond) {
		now := r.book.Counts()
		want := account.Counts{Published: now.Published - before.Published, Received: now.Received - before.Received}
		l, err := r.readLedger(ctx, admin)
		if err != nil {
			return err
		}
		var got account.Counts
		for _, k := range l.Kinds {
			if k.Kind == "devices" {
				got = account.Counts{Published: k.Published.Acknowledged, Received: k.Received.Acknowledged}
			}
		}
		r.ledger = fmt.Sprintf("ledger of the last life: acknowledged to devices %d, by devices %d; they count %d and %d",
			got.Published, got.Received, want.Published, want.Received)
		if got == want && len(r.book.Open()) == 0 {
			return nil
		}
		if r.book.Now() > limit {
			r.book.Fault(r.ledger)
			return nil
		}
	}
}
