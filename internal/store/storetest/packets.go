package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// wantPackets takes what is to be sent and compares it, as payload:id, with a + for what is sent again.
func wantPackets(t *testing.T, q store.Queue, now time.Time, last uint16, want ...string) {
	t.Helper()
	if got := packetsOf(q, now, last); !slices.Equal(got, want) {
		t.Fatalf("to be sent: %q, want %q", got, want)
	}
}

func packetsOf(q store.Queue, now time.Time, last uint16) (all []string) {
	for p, ok := q.NextPacket(now, last); ok; p, ok = q.NextPacket(now, last) {
		again := ""
		if p.Again {
			again = "+"
		}
		all = append(all, fmt.Sprintf("%s:%d%s", p.Message.Payload, p.ID, again))
		last = p.ID
	}
	return all
}

// wantReleases compares the identifiers for which PUBREL is to be sent.
func wantReleases(t *testing.T, q store.Queue, want ...uint16) {
	t.Helper()
	if got := releasesOf(q); !slices.Equal(got, want) {
		t.Fatalf("to be released: %v, want %v", got, want)
	}
}

func releasesOf(q store.Queue) (all []uint16) {
	for id, ok := q.NextRelease(start); ok; id, ok = q.NextRelease(start) {
		all = append(all, id)
	}
	return all
}

// wantPacketStep compares what an acknowledgement changes.
func wantPacketStep(t *testing.T, what string, did bool, err error, want bool, wantErr error) {
	t.Helper()
	if did != want || !errors.Is(err, wantErr) {
		t.Fatalf("%s: %t, %v; want %t, %v", what, did, err, want, wantErr)
	}
}

func testPackets(t *testing.T, open Open) {
	s := open(t, store.Options{})
	s.Save(&store.Record{Device: "d"})
	q := queueOf(t, s, "d")
	push(t, q, qos1, msg("t", "a"))
	push(t, q, qos2, msg("t", "b"), msg("t", "c"), msg("t", "d"))
	push(t, q, qos0, msg("t", "e"))
	wantPackets(t, q, start, 65533, "a:65534", "b:65535", "c:1", "d:2", "e:0")
	wantSize(t, q, 4, 4)

	acked := func(id uint16, want bool, wantErr error) {
		t.Helper()
		m, err := q.Acked(id)
		wantPacketStep(t, fmt.Sprint("PUBACK ", id), m != 0, err, want, wantErr)
	}
	received := func(id uint16, refused, want, wantFound bool, wantErr error) {
		t.Helper()
		m, found, err := q.Received(id, refused, start)
		wantPacketStep(t, fmt.Sprint("PUBREC ", id), m != 0, err, want, wantErr)
		wantPacketStep(t, fmt.Sprint("PUBREC ", id, " found"), found, nil, wantFound, nil)
	}
	completed := func(id uint16, want bool, wantErr error) {
		t.Helper()
		did, err := q.Completed(id)
		wantPacketStep(t, fmt.Sprint("PUBCOMP ", id), did, err, want, wantErr)
	}
	acked(9, false, nil)
	acked(65535, false, store.ErrNotDue)
	received(9, false, false, false, nil)
	received(65534, false, false, false, store.ErrNotDue)
	completed(9, false, nil)
	completed(65535, false, store.ErrNotDue)
	acked(65534, true, nil)
	acked(65534, false, nil)
	received(2, false, true, true, nil)
	received(2, false, false, true, nil) // the device says it again
	received(65535, false, true, true, nil)
	received(1, true, true, true, nil) // refused: it is over
	acked(2, false, store.ErrNotDue)
	wantReleases(t, q) // the answers to PUBREC
	wantSize(t, q, 0, 0)
	if q.Empty() || q.Open() != 2 {
		t.Fatalf("empty %t, %d open; want two identifiers", q.Empty(), q.Open())
	}

	push(t, q, qos2, msg("t", "f"))
	wantPackets(t, q, start, 1, "f:3") // 2 is in use
	q.Rewind()
	wantReleases(t, q, 2, 65535) // in the order of PUBREC
	wantReleases(t, q)
	received(3, false, false, false, nil) // of an older connection
	completed(3, false, nil)
	wantPackets(t, q, start, 3, "f:3+")
	q.Rewind()
	completed(2, false, nil) // PUBREL was not sent on this connection
	wantReleases(t, q, 2, 65535)
	completed(2, true, nil)
	completed(65535, true, nil)
	wantPackets(t, q, start, 3, "f:3+")
	received(3, false, true, true, nil)
	completed(3, true, nil)
	if !q.Empty() || q.Open() != 0 {
		t.Fatalf("empty %t, %d open, at the end", q.Empty(), q.Open())
	}
}

// The identifier of a QoS 2 message that was sent and is lost may be in use at the device.
func testPacketsLost(t *testing.T, open Open) {
	s := open(t, store.Options{Queue: store.Limits{Age: time.Minute}})
	s.Save(&store.Record{Device: "d"})
	q := queueOf(t, s, "d")
	push(t, q, qos1, expiring("t", "a", start.Add(time.Second)))
	push(t, q, qos2, msg("t", "b"), msg("t", "c"), msg("t", "d"))
	wantPackets(t, q, start, 0, "a:1", "b:2", "c:3", "d:4")
	q.Rewind()
	push(t, q, qos1, msg("t", "e"))
	if n := q.Remove(func(*message.Message, message.QoS) (string, bool) { return "", true }, start); n != 2 {
		t.Errorf("%d messages taken away, want a and e", n)
	}
	if m, _ := q.DropOldest(); string(m.Payload) != "b" {
		t.Errorf("dropped %s", m.Payload)
	}
	wantReleases(t, q, 2)
	wantPackets(t, q, start.Add(time.Hour), 4) // c and d are too old by now
	if n := q.TakeExpired(); n != 2 {
		t.Errorf("%d expired, want 2", n)
	}
	wantReleases(t, q, 3, 4)
	wantSize(t, q, 0, 0)
	if q.Open() != 3 {
		t.Errorf("%d open, want 3", q.Open())
	}
}

func testPacketsForgot(t *testing.T, open Open) {
	s := open(t, store.Options{})
	s.Save(&store.Record{Device: "d"})
	q := queueOf(t, s, "d")
	push(t, q, qos2, msg("t", "a"), msg("t", "b"))
	wantPackets(t, q, start, 0, "a:1", "b:2")
	_, _, _ = q.Received(1, false, start)
	q.Rewind()
	q.ForgetPackets()
	wantReleases(t, q)
	wantSize(t, q, 1, 0)
	wantPackets(t, q, start, 0, "b:1") // not again
}
