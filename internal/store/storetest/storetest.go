// Package storetest is the contract of store.Store as tests that every implementation runs.
//
// A store that has a device only when the device was claimed is opened by a wrapper that claims each device when its record or queue is used first,
// as sessions do, and all that there are before Records and TakeValues tell of them.
package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Whole is both sides of a store.
type Whole interface {
	store.Store
	store.Opener
}

// Open makes an empty store with the options; it lasts until the test ends.
type Open func(t *testing.T, o store.Options) Whole

// Run tests what holds for every store.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"Order":           testOrder,
		"Ack":             testAck,
		"Rewind":          testRewind,
		"Reopen":          testReopen,
		"Count":           testCount,
		"Bytes":           testBytes,
		"Age":             testAge,
		"ExpiredMakeRoom": testExpiredMakeRoom,
		"Drops":           testDrops,
		"DropOldestQoS0":  testDropOldestQoS0,
		"Conflate":        testConflate,
		"Packets":         testPackets,
		"PacketsLost":     testPacketsLost,
		"PacketsForgot":   testPacketsForgot,
		"Records":         testRecords,
		"Fence":           testFence,
		"Values":          testValues,
		"Retained":        testRetained,
		"RetainedExpiry":  testRetainedExpiry,
		"RetainedLimits":  testRetainedLimits,
		"RetainedWalk":    testRetainedWalk,
		"RetainedNewest":  testRetainedNewest,
		"RetainedLooks":   testRetainedLooks,
		"RetainedLarge":   testRetainedLarge,
		"RetainedChanges": testRetainedLargeChanges,
		"RetainedExpires": testRetainedLargeExpires,
		"RetainedPages":   testRetainedPages,
		"Unretain":        testUnretain,
		"Paging":          testPaging,
		"PagingBounds":    testPagingBounds,
		"PagingPackets":   testPagingPackets,
		"PagingShares":    testPagingShares,
		"PagingMany":      testPagingMany,
		"Concurrent":      testConcurrent,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	qos0 = message.AtMostOnce
	qos1 = message.AtLeastOnce
	qos2 = message.ExactlyOnce
)

// msg makes an owned message.
func msg(topic, payload string) *message.Message {
	m := message.Message{Topic: topic, Payload: []byte(payload), Time: start.UnixMilli()}
	return m.Clone()
}

// numbered makes a message that states its number.
func numbered(n int) *message.Message { return msg("device/d/down", fmt.Sprint("payload ", n)) }

func numberedTo(n int) []*message.Message {
	all := make([]*message.Message, n)
	for i := range all {
		all[i] = numbered(i)
	}
	return all
}

func expiring(topic, payload string, at time.Time) *message.Message {
	m := msg(topic, payload)
	m.Expiry = at.UnixMilli()
	return m
}

func testRecords(t *testing.T, open Open) {
	s := open(t, store.Options{})
	will := msg("will", "gone")
	record := func(device string, missed uint64) *store.Record {
		return &store.Record{
			Device: device, Session: 7, Expiry: time.Hour, Left: start.UnixMilli(), Missed: missed,
			Subscriptions: []topic.Subscription{
				{Filter: "a/#", QoS: qos1},
				{Filter: "b", QoS: qos2, ID: 7, NoLocal: true, RetainAsPublished: true, RetainHandling: topic.RetainNever},
			},
			Will: &store.Will{Message: will, Delay: time.Minute, Expiry: time.Hour},
		}
	}
	for _, r := range []*store.Record{record("a", 1), record("b", 2), record("a", 3)} {
		s.Save(r)
	}
	s.Receive("a", 9)
	s.Receive("a", 8)
	s.Receive("a", 8)
	s.Receive("b", 8)
	s.Receive("a", 7)
	s.Release("a", 8)
	s.Receive("no record", 1)
	s.Release("no record", 1)
	want := record("a", 3)
	want.Received = []uint16{7, 9}
	wantRecord(t, recordOf(t, s, "a"), want)
	s.Save(record("a", 4)) // which says nothing of what was received
	want.Missed = 4
	wantRecord(t, recordOf(t, s, "a"), want)
	s.Release("a", 0)
	wantRecord(t, recordOf(t, s, "a"), record("a", 4))

	s.Drop("b")
	s.Save(record("b", 5))
	wantRecord(t, recordOf(t, s, "b"), record("b", 5))
	s.Drop("b")
	if r := recordOf(t, s, "b"); r != nil {
		t.Errorf("a device that was dropped has %+v", r)
	}
	n := 0
	if err := s.Records(func(*store.Record) bool {
		s.Save(record("later", 0)) // yield may call the store
		n++
		return false
	}); err != nil || n != 1 {
		t.Errorf("%d records after a stop at one, %v", n, err)
	}
}

// recordOf finds the record of a device, nil when there is none.
func recordOf(t *testing.T, s store.Opener, device string) (found *store.Record) {
	t.Helper()
	if err := s.Records(func(r *store.Record) bool {
		if r.Device == device {
			found = r
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// A store has no values but those that it was opened with.
func testValues(t *testing.T, open Open) {
	s := open(t, store.Options{})
	s.Put(store.SpaceCommand, "a", []byte("1"))
	s.Put(store.SpaceCommand, "a", nil)
	if found, err := s.TakeValues(store.SpaceCommand); err != nil || len(found) > 0 {
		t.Errorf("found %q, %v", found, err)
	}
}

// A fence passes once for each who asks, also after the store was closed.
func testFence(t *testing.T, open Open) {
	s := open(t, store.Options{})
	told := make(chan error, 3)
	s.Commit(func(err error) { told <- err })
	s.Save(&store.Record{Device: "d"})
	s.Commit(func(err error) { told <- err })
	if err := errors.Join(<-told, <-told, s.Err(), s.Close()); err != nil {
		t.Error(err)
	}
	if len(told) > 0 {
		t.Error("a fence is told twice")
	}
}

func wantRecord(t *testing.T, got, want *store.Record) {
	t.Helper()
	if got == nil {
		t.Fatalf("no record of %s", want.Device)
	}
	will := got.Will
	if will == nil || !will.Message.Equal(want.Will.Message) || will.Delay != want.Will.Delay || will.Expiry != want.Will.Expiry {
		t.Errorf("got the will %+v, want %+v", will, want.Will)
	}
	a, b := *got, *want
	a.Will, b.Will = nil, nil
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got %+v, want %+v", a, b)
	}
}

// testConcurrent gives the race detector what sessions of different devices do.
func testConcurrent(t *testing.T, open Open) {
	s := open(t, store.Options{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			device := fmt.Sprint("device-", g)
			for i := range 50 {
				if err := session(s, device, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantRetained(t, s, start, "+/last", "49", "49", "49", "49")
}

// session is one short life of a device's session.
func session(s Whole, device string, i int) error {
	s.Save(&store.Record{Device: device})
	q := s.Queue(device)
	m := numbered(i)
	if err := q.Push(m, qos1, start); err != nil {
		return err
	}
	if got, _, ok := q.Next(start); !ok || got.ID != m.ID || !q.Ack(m.ID) {
		return fmt.Errorf("%s got %v of another", device, got)
	}
	q.Close()
	safe := make(chan error, 1)
	s.Commit(func(err error) { safe <- err })
	defer s.Drop(device)
	return errors.Join(
		<-safe,
		s.Retain(msg(device+"/last", fmt.Sprint(i)), start),
		walkAll(s, "+/last", start, func(*message.Message) {}),
		s.Records(func(*store.Record) bool { return true }),
	)
}
