// Package storetest is the contract of store.Store as tests that every implementation runs.
package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

// Open makes an empty store with the options; it lasts until the test ends.
type Open func(t *testing.T, o store.Options) store.Store

// Run tests the whole contract.
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
		"Records":         testRecords,
		"Retained":        testRetained,
		"RetainedExpiry":  testRetainedExpiry,
		"RetainedLimits":  testRetainedLimits,
		"RetainedWalk":    testRetainedWalk,
		"RetainedLooks":   testRetainedLooks,
		"Unretain":        testUnretain,
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
			Packets: &store.Packets{
				Sent:     []store.Packet{{Message: 1, ID: 3, QoS: qos2, Released: true}, {Message: 2, ID: 4, QoS: qos1}},
				Last:     4,
				Received: []uint16{9},
			},
		}
	}
	for _, r := range []*store.Record{record("a", 1), record("b", 2), record("a", 3)} {
		if err := s.Save(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Drop("b"); err != nil {
		t.Fatal(err)
	}
	var devices []string
	err := s.Records(func(r *store.Record) bool {
		if devices = append(devices, r.Device); r.Device == "a" {
			wantRecord(t, r, record("a", 3))
		}
		return s.Save(record("later", 0)) == nil // yield may call the store
	})
	if err != nil || !slices.Contains(devices, "a") || slices.Contains(devices, "b") {
		t.Errorf("records of %q, %v", devices, err)
	}
	n := 0
	if err := s.Records(func(*store.Record) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%d records after a stop at one, %v", n, err)
	}
}

func wantRecord(t *testing.T, got, want *store.Record) {
	t.Helper()
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
func session(s store.Store, device string, i int) error {
	q, err := s.Queue(device)
	if err != nil {
		return err
	}
	m := numbered(i)
	if err := q.Push(m, qos1, start); err != nil {
		return err
	}
	if got, _, ok := q.Next(start); !ok || got.ID != m.ID || !q.Ack(m.ID) {
		return fmt.Errorf("%s got %v of another", device, got)
	}
	return errors.Join(
		q.Close(),
		s.Save(&store.Record{Device: device}),
		s.Retain(msg(device+"/last", fmt.Sprint(i)), start),
		walkAll(s, "+/last", start, func(*message.Message) {}),
		s.Records(func(*store.Record) bool { return true }),
		s.Drop(device),
	)
}
