package store

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
)

var update = flag.Bool("update", false, "write testdata again")

// samples are one operation of each kind, with all its fields.
func samples() []Op {
	m := &message.Message{ID: 7, Topic: "a/b", Payload: []byte("payload"), Source: "d", QoS: message.ExactlyOnce}
	r := &Record{
		Device: "d", Session: 1 << 63, Expiry: time.Hour, Left: 1 << 40, Missed: 3,
		Subscriptions: []topic.Subscription{
			{Filter: "a", QoS: message.ExactlyOnce, ID: 1<<32 - 1, NoLocal: true, RetainAsPublished: true, RetainHandling: topic.RetainNever, Conflate: true},
			{Filter: "b"},
		},
		Will: &Will{Message: m, Delay: time.Minute, Expiry: time.Second},
	}
	return []Op{
		{Kind: OpSave, Device: "d", Record: r},
		{Kind: OpSave, Device: "d", Record: &Record{Device: "d"}},
		{Kind: OpDrop, Device: "d"},
		{Kind: OpReceive, Device: "d", Packet: 65535},
		{Kind: OpRelease, Device: "d", Packet: 9},
		{Kind: OpRelease, Device: "d"},
		{Kind: OpPush, Device: "d", Number: 300, QoS: message.AtLeastOnce, Due: 1 << 41, Message: m},
		{Kind: OpSent, Device: "d", Number: 300, Packet: 9, Due: 1 << 41},
		{Kind: OpReceived, Device: "d", Number: 300, Packet: 9},
		{Kind: OpRemove, Device: "d", Number: 300},
		{Kind: OpRetain, Message: m},
		{Kind: OpUnretain, Topic: "a/b"},
		{Kind: OpPut, Space: SpaceCommand, Key: "d/7", Value: []byte("value")},
		{Kind: OpPut, Space: SpaceLedger, Key: "empty"},
		{Kind: OpDelete, Space: SpacePlace, Key: "a\x00b"},
		{Kind: OpSent, Device: "d", Number: 300, Packet: 9, Due: 1 << 41, QoS: message.ExactlyOnce, Size: 10, Shared: true},
		{Kind: OpOrphan, Device: "d", Number: 4, Key: "k", Value: []byte("message")},
		{Kind: OpUpdate, Device: "d", Record: &Record{Device: "d", Session: 7}},
		{Kind: OpSubscribe, Device: "d", Subscription: &r.Subscriptions[0]},
		{Kind: OpUnsubscribe, Device: "d", Topic: "a/+"},
	}
}

// What is written by this version is read by all later ones.
func TestOperationsGolden(t *testing.T) {
	const file = "testdata/operations1.txt"
	var all []string
	for _, op := range samples() {
		all = append(all, strconv.Quote(string(AppendOp(nil, &op))))
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(all, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(want) != len(all) {
		t.Fatalf("%d operations, want %d", len(want), len(all))
	}
	for i, op := range samples() {
		if all[i] != want[i] {
			t.Errorf("kind %d is\n%s, was\n%s", op.Kind, all[i], want[i])
		}
		p, err := strconv.Unquote(want[i])
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseOp([]byte(p))
		wantOp(t, &got, err, &op)
	}
}

// wantOp compares operations by their bytes, which hold all there is.
func wantOp(t *testing.T, got *Op, err error, want *Op) {
	t.Helper()
	if err != nil || !bytes.Equal(AppendOp(nil, got), AppendOp(nil, want)) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// A record or a subscription with a field that operations forget would be another one after a restart.
func TestOperationHasEveryField(t *testing.T) {
	r := samples()[0].Record
	for name, v := range map[string]reflect.Value{
		"Record": reflect.ValueOf(*r), "Will": reflect.ValueOf(*r.Will), "Subscription": reflect.ValueOf(r.Subscriptions[0]),
	} {
		for i := range v.NumField() {
			if field := v.Type().Field(i).Name; v.Field(i).IsZero() && field != "Received" {
				t.Errorf("no sample has %s.%s", name, field)
			}
		}
	}
}

func TestBadOperations(t *testing.T) {
	with := func(kind Kind, num protowire.Number, typ protowire.Type, value ...byte) []byte {
		p := AppendOp(nil, &Op{Kind: kind, Device: "d"})
		return append(protowire.AppendTag(p, num, typ), value...)
	}
	for want, p := range map[string][]byte{
		"it is empty": {},
		"it has version 2, this program knows version 1": {2},
		"kind 0 is not known":                            {opVersion},
		"kind 200 is not known":                          AppendOp(nil, &Op{Kind: 200}),
		"kind 2 lacks a field":                           AppendOp(nil, &Op{Kind: OpDrop}),
		"kind 11 lacks a field":                          AppendOp(nil, &Op{Kind: OpPut, Key: "k"}),
		"kind 12 lacks a field":                          AppendOp(nil, &Op{Kind: OpDelete, Space: SpacePlace}),
		"kind 5 lacks a field":                           AppendOp(nil, &Op{Kind: OpPush, Device: "d", Number: 1}),
		"1 bytes before its end":                         append(AppendOp(nil, &Op{Kind: OpDrop, Device: "d"}), 0),
		"field 7 is cut off":                             with(OpDrop, fieldTopic, protowire.BytesType, 5, 'x'),
		"field 3: it has another type":                   with(OpRemove, fieldNumber, protowire.BytesType, 0),
		"field 9: it has another type":                   with(OpSave, fieldRecord, protowire.VarintType, 0),
		"field 7: it is not UTF-8":                       with(OpDrop, fieldTopic, protowire.BytesType, 1, 0xff),
		"field 5: it is too large":                       with(OpDrop, fieldQoS, protowire.VarintType, 3),
		"field 8: message: bad record: it":               with(OpRetain, fieldMessage, protowire.BytesType, 0),
		"field 6: it has no message":                     with(OpSave, fieldRecord, protowire.BytesType, 2, 6<<3|2, 0),
	} {
		if _, err := ParseOp(p); !errors.Is(err, ErrOp) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", p, err, want)
		}
	}
}

// What a later version adds is passed over.
func TestOperationOfALaterVersionIsRead(t *testing.T) {
	for _, op := range samples() {
		p := protowire.AppendVarint(protowire.AppendTag(AppendOp(nil, &op), 1000, protowire.VarintType), 7)
		p = protowire.AppendFixed64(protowire.AppendTag(p, 1001, protowire.Fixed64Type), 7)
		got, err := ParseOp(p)
		wantOp(t, &got, err, &op)
	}
}

// What is read and written again is the same, and no bytes make a store panic.
func FuzzParseOp(f *testing.F) {
	for _, op := range samples() {
		f.Add(AppendOp(nil, &op))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		op, err := ParseOp(p)
		if err != nil {
			if !errors.Is(err, ErrOp) {
				t.Error(err)
			}
			return
		}
		written := AppendOp(nil, &op)
		again, err := ParseOp(bytes.Clone(written))
		if err != nil || !bytes.Equal(AppendOp(nil, &again), written) {
			t.Errorf("%+v became %+v, %v", op, again, err)
		}
		s := NewMemory(Options{})
		s.save(&Record{Device: op.Device})
		for range 2 {
			if err := s.Apply(bytes.Clone(written)); err != nil {
				t.Error(err)
			}
		}
	})
}

func BenchmarkJournaledQueue(b *testing.B) {
	s, now := NewJournaled(Options{}, nowhere{}), time.Now()
	s.Save(&Record{Device: "d"})
	q := s.Queue("d")
	m := (&message.Message{Topic: "device/m-7/telemetry", Payload: make([]byte, 128), Source: "m-7", QoS: message.AtLeastOnce}).Clone()
	b.ReportAllocs()
	for b.Loop() {
		_ = q.Push(m, message.AtLeastOnce, now)
		p, _ := q.NextPacket(now, 0)
		_, _ = q.Acked(p.ID)
	}
}

// nowhere is a journal that keeps nothing.
type nowhere struct{}

func (nowhere) Add(Op)                  {}
func (nowhere) Commit(done func(error)) { done(nil) }
func (nowhere) Err() error              { return nil }
