package message

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

var update = flag.Bool("update", false, "write testdata again")

// full is a message with every exported field set.
func full() *Message {
	m := new(Message)
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() {
			v.Field(i).Set(sample(f.Type))
		}
	}
	m.Payload, m.Request = []byte("payload"), &Request{"x", []byte("correlation")}
	m.Origin = Origin{Node: 300, Via: ViaAPI}
	m.At = 1 << 50
	m.Hops = 0 // the bus has it beside the record; elsewhere it means nothing
	m.Trace, _ = ParseTraceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	m.Properties = []Property{{"key", "value"}, {"", ""}}
	m.Delivery = &Delivery{Subscriptions: []uint32{1, 300}, Share: "$share/g/x"}
	return m
}

// A field that records forget would be lost by a restart.
func TestRecordHasEveryField(t *testing.T) {
	for name, m := range map[string]*Message{
		"full":              full(),
		"least":             {ID: 1, Topic: "a"},
		"empty correlation": {ID: 1, Topic: "a", Request: &Request{CorrelationData: []byte{}}},
		"response topic":    {ID: 1, Topic: "a", Request: &Request{ResponseTopic: "r"}},
	} {
		got, err := ParseRecord(AppendRecord(nil, m))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: got %+v, want %+v", name, got, m)
		}
	}
}

// Records of an earlier program can be read: record1.txt has the fields of the first version, and the last
// golden file has all fields.
func TestRecordGolden(t *testing.T) {
	first := full()
	first.Origin, first.Trace, first.At = Origin{}, nil, 0
	if m, err := ParseRecord(golden(t, "testdata/record1.txt")); err != nil || !reflect.DeepEqual(m, first) {
		t.Errorf("%+v, %v", m, err)
	}
	const last = "testdata/record1_at.txt"
	record := AppendRecord(nil, full())
	if *update {
		if err := os.WriteFile(last, []byte(strconv.Quote(string(record))+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := golden(t, last)
	if !bytes.Equal(record, want) {
		t.Errorf("the record is\n%q, was\n%q", record, want)
	}
	if m, err := ParseRecord(want); err != nil || !reflect.DeepEqual(m, full()) {
		t.Errorf("%+v, %v", m, err)
	}
}

// golden returns the record in a file.
func golden(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	record, err := strconv.Unquote(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(record)
}

// Nodes of two versions share records.
func TestRecordOfALaterVersionIsRead(t *testing.T) {
	p := AppendRecord(nil, full())
	p = protowire.AppendVarint(protowire.AppendTag(p, 1000, protowire.VarintType), 7)
	p = protowire.AppendBytes(protowire.AppendTag(p, 1001, protowire.BytesType), []byte("new"))
	p = protowire.AppendFixed64(protowire.AppendTag(p, 1002, protowire.Fixed64Type), 7)
	if m, err := ParseRecord(p); err != nil || !reflect.DeepEqual(m, full()) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestBadRecords(t *testing.T) {
	least := AppendRecord(nil, &Message{ID: 1, Topic: "a"})
	with := func(num protowire.Number, typ protowire.Type, value ...byte) []byte {
		return append(protowire.AppendTag(bytes.Clone(least), num, typ), value...)
	}
	for want, p := range map[string][]byte{
		"it is empty": {},
		"it has version 2, this program knows version 1": {2},
		"it has no ID":                       {recordVersion},
		"it has no topic":                    {recordVersion, 1 << 3, 7},
		"byte 6: want a field":               append(bytes.Clone(least), 0),
		"byte 6: field 3 is truncated":       with(fieldPayload, protowire.BytesType, 5, 'x'),
		"byte 6: field 3 has the wrong type": with(fieldPayload, protowire.VarintType, 5),
		"byte 6: field 9 has the wrong type": with(fieldQoS, protowire.BytesType, 0),
		"byte 6: field 9 is not a QoS":       with(fieldQoS, protowire.VarintType, 3),
		"byte 6: field 6 is not UTF-8":       with(fieldSource, protowire.BytesType, 1, 0xff),
		"byte 8: field 1 is not UTF-8":       with(fieldProperty, protowire.BytesType, 3, 1<<3|2, 1, 0xff),
		"byte 6: field 19 is not a trace":    with(fieldTrace, protowire.BytesType, 1, 0),
		"byte 8: field 1 is truncated":       with(fieldProperty, protowire.BytesType, 2, 1<<3|2, 1),
	} {
		_, err := ParseRecord(p)
		if !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", p, err, want)
		}
	}
}

// A record that is read and written again gives the same message.
func FuzzParseRecord(f *testing.F) {
	f.Add(AppendRecord(nil, full()))
	f.Add(AppendRecord(nil, &Message{ID: 1, Topic: "a"}))
	f.Add([]byte{recordVersion, 1 << 3, 7, 2<<3 | 2, 1, 'a', 14<<3 | 2, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := ParseRecord(p)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Errorf("%v", err)
			}
			return
		}
		record := AppendRecord(nil, m)
		again, err := ParseRecord(record)
		if err != nil || !bytes.Equal(AppendRecord(nil, again), record) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	m := (&Message{Topic: "device/m-7/telemetry", Payload: make([]byte, 128), ContentType: JSON, Source: "m-7", Time: 1 << 40, QoS: AtLeastOnce}).Clone()
	buf := AppendRecord(nil, m)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = AppendRecord(buf[:0], m)
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseRecord(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
