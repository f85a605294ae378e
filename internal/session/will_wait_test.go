package session

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

var errFullDisk = errors.New("the disk is full")

// fullDisk is a store that takes no message while it is full.
type fullDisk struct {
	*storetest.OnJournal
	full atomic.Bool
	soon atomic.Bool // it is full from the next look on
}

func (f *fullDisk) Err() error {
	if f.full.Load() {
		return errFullDisk
	}
	if f.soon.Load() {
		f.full.Store(true)
	}
	return nil
}

func willOf(text string, qos message.QoS) *store.Will {
	m := message.Message{Topic: "w", Payload: []byte(text), QoS: qos}
	return &store.Will{Message: m.Clone()}
}

// A will that is due while the store fails is published when the store is well, once. One of QoS 0 that is not retained does not wait.
func TestWillWaitsForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fullDisk{OnJournal: storetest.NewOnJournal(store.Options{})}
		w := newWorldOn(t, Config{}, f)
		defer w.close()
		o := w.observe("w")
		f.full.Store(true)
		for qos := range message.QoS(3) {
			w.client(fmt.Sprint("d", qos), Options{Will: willOf(fmt.Sprint(qos), qos)}).leave("reset")
		}
		synctest.Wait()
		o.saw(t, "w=0 qos 0")
		time.Sleep(10 * tryWillsEvery)
		synctest.Wait()
		o.saw(t)
		f.full.Store(false)
		time.Sleep(tryWillsEvery)
		synctest.Wait()
		o.saw(t, "w=1 qos 1", "w=2 qos 1")
		time.Sleep(3 * tryWillsEvery)
		synctest.Wait()
		o.saw(t)
		expect(t, "drops", len(w.drops()), 0)
	})
}

// The store may fail after it was asked whether a will has to wait, and before the will is published. Then it waits as well, also in a session that
// outlives it.
func TestWillMeetsTheFailureOfTheStore(t *testing.T) {
	for name, expiry := range map[string]time.Duration{"ends": 0, "kept": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fullDisk{OnJournal: storetest.NewOnJournal(store.Options{})}
				w := newWorldOn(t, Config{}, f)
				defer w.close()
				o := w.observe("w")
				c := w.client("d", Options{Expiry: &expiry, Will: willOf("last", 1)})
				f.soon.Store(true)
				c.leave("reset")
				synctest.Wait()
				expect(t, "full", f.full.Load(), true)
				o.saw(t)
				f.soon.Store(false)
				f.full.Store(false)
				time.Sleep(tryWillsEvery)
				synctest.Wait()
				o.saw(t, "w=last qos 1")
				expect(t, "wills", w.manager.Wills(), 1)
			})
		})
	}
}

// Wills that wait at the end of a node are published by its next life, if their sessions outlive it; the others are dropped and counted. So
// are those beyond the bound.
func TestWillsWaitWithinBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fullDisk{OnJournal: storetest.NewOnJournal(store.Options{})}
		w := newWorldOn(t, Config{MaxSessions: 2}, f)
		w.observe("w")
		kept, none := time.Hour, time.Duration(0)
		f.full.Store(true)
		for i, expiry := range []*time.Duration{&kept, &none, &none} {
			w.client(fmt.Sprint("d", i), Options{Expiry: expiry, Will: willOf(fmt.Sprint(i), 1)}).leave("reset")
		}
		synctest.Wait()
		expect(t, "beyond the bound", w.drops()["store"], 1)
		w.close()
		expect(t, "at the end", w.drops()["store"], 2)
		again := newWorldOn(t, Config{}, f.OnJournal.Restart(t))
		defer again.close()
		synctest.Wait()
		expect(t, "published by the next life", again.manager.Wills(), 1)
	})
}

// The end of a node waits for wills that are being tried.
func TestWillsAreNotTriedAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trying, free := make(chan struct{}), make(chan struct{})
		w := waitingWills{most: 1, again: func(wills ...event) {
			if len(wills) > 0 {
				close(trying)
				<-free
			}
		}}
		w.add(&event{will: willOf("last", 1).Message})
		<-trying
		stopped := make(chan struct{})
		go func() {
			w.stop()
			close(stopped)
		}()
		synctest.Wait()
		select {
		case <-stopped:
			t.Error("a will is still being tried")
		default:
		}
		close(free)
		<-stopped
	})
}
