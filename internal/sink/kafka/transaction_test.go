package kafka

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/longline/longline/internal/sink/pump"
)

func (w *world) exact(change func(*Config)) *transactional {
	w.Helper()
	target := w.open(func(c *Config) {
		c.Transactional = true
		if change != nil {
			change(c)
		}
	})
	w.Cleanup(target.Close)
	return target.(*transactional)
}

// place returns the place that the other side has; 0 if none.
func (w *world) place(target pump.Transactional) uint64 {
	w.Helper()
	place, known, err := target.Place(w.Context())
	if err != nil || known != (place > 0) {
		w.Fatalf("%d, %v: %v", place, known, err)
	}
	return place
}

func (w *world) sendUpTo(target pump.Transactional, records []*pump.Record, place uint64) {
	w.Helper()
	if err := target.SendUpTo(w.Context(), records, place); err != nil {
		w.Fatal(err)
	}
}

// Records and place are there together, and another process goes on from there.
func TestTransactions(t *testing.T) {
	w := newWorld(t)
	first := w.exact(nil)
	if place := w.place(first); place != 0 {
		t.Error(place)
	}
	w.sendUpTo(first, w.records(first, 1, 10, 3), 11)
	w.sendUpTo(first, w.records(first, 11, 20, 3), 22)
	w.send(first, w.records(first, 1, 2, 3)) // a replay moves no place
	second := w.exact(nil)
	if place := w.place(second); place != 22 {
		t.Error(place)
	}
	w.sendUpTo(second, w.records(second, 22, 30, 3), 31)
	if place := w.place(second); place != 31 {
		t.Error(place)
	}
	if all := w.read("t"); len(all) != 31 {
		t.Errorf("%d records", len(all))
	}
}

// The process before ends in the middle of a transaction: nobody sees its records.
func TestTransactionIsCut(t *testing.T) {
	w := newWorld(t)
	first := w.exact(nil)
	w.place(first)
	w.sendUpTo(first, w.records(first, 1, 10, 3), 11)
	err := first.transact(t.Context(), w.records(first, 11, 20, 3), func(ctx context.Context) error {
		if err := first.addPlace(ctx, 21); err != nil {
			t.Error(err)
		}
		second := w.exact(nil)
		if place := w.place(second); place != 11 {
			t.Error(place)
		}
		w.sendUpTo(second, w.records(second, 11, 15, 3), 16)
		return first.commit(ctx)
	})
	if err == nil {
		t.Error("a transaction was made although there is a newer process")
	}
	if _, _, err := first.Place(t.Context()); !pump.IsMisconfigured(err) {
		t.Errorf("%v, although another process writes", err)
	}
	if all := w.read("t"); len(all) != 15 {
		t.Errorf("%d records", len(all))
	}
}

// The answer to the end of a transaction is lost: the place says whether it was made.
func TestEndIsUnknown(t *testing.T) {
	w := newWorld(t)
	target := w.exact(func(c *Config) { c.Timeout = time.Second })
	w.place(target)
	w.sendUpTo(target, w.records(target, 1, 10, 3), 11)
	var heal atomic.Bool
	w.control(kmsg.EndTxn, func(r kmsg.Request) kmsg.Response {
		if heal.Load() {
			return nil
		}
		answer := r.ResponseKind().(*kmsg.EndTxnResponse)
		answer.ErrorCode = kerr.UnknownServerError.Code
		return answer
	})
	if err := target.SendUpTo(t.Context(), w.records(target, 11, 20, 3), 21); err == nil {
		t.Fatal("it was made")
	}
	if place := w.place(target); place != 11 {
		t.Error(place)
	}
	heal.Store(true)
	w.sendUpTo(target, w.records(target, 11, 20, 3), 21)
	if all := w.read("t"); len(all) != 20 {
		t.Errorf("%d records", len(all))
	}
}

func TestTransactionRefused(t *testing.T) {
	w := newWorld(t)
	w.control(kmsg.Produce, refuseBatches(t, func(batch []byte) bool { return bytes.Contains(batch, []byte("invalid")) }, kerr.InvalidRecord))
	target := w.exact(nil)
	w.place(target)
	for bad := range 5 {
		records := w.records(target, 1, 5, 1)
		records[bad].Value = []byte("invalid")
		err := target.SendUpTo(t.Context(), records, 6)
		if !pump.IsRefused(err) || !strings.Contains(fmt.Sprintf("%#v", err), fmt.Sprintf("at:%d}", bad)) {
			t.Errorf("record %d: %#v", bad, err)
		}
	}
	if all := w.read("t"); len(all) != 0 {
		t.Errorf("%d records", len(all))
	}
}
