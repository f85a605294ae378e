package redis

import (
	"cmp"
	"slices"
	"testing"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

func seedMessage() string {
	m := &message.Message{ID: 7, Topic: "fleet/7", Payload: []byte("on"), QoS: message.AtLeastOnce, Time: 1, Expiry: 99}
	return string(message.AppendRecord(nil, m))
}

// Whatever Redis has of a device, what is read of it is in order, and a bad field hides no other.
func FuzzFound(f *testing.F) {
	record := string(store.AppendRecord(nil, &store.Record{Device: "m-7"}))
	owed := string(store.AppendOwed(nil, &store.Owed{Size: 40, QoS: message.AtLeastOnce}))
	subscription := string(store.AppendSubscription(nil, &topic.Subscription{Filter: "a/#"}))
	f.Add("r", record, "f/a/#", subscription, "5", seedMessage())
	f.Add("h/5", owed, "i/9", "", "5", seedMessage())
	f.Add("h/x", owed, "v/3/key", "value", "x", "x")
	f.Add("i/70000", "", "v/300/key", "", "", "")
	f.Add("r", "x", "r", record, "5", "")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2, number, body string) {
		state := []string{"i/1", "", "r", record, "h/4", owed, name1, value1, name2, value2}
		bodies := []string{number, body, "4", seedMessage(), "cut off"}
		reasons := 0
		got := readFound("m-7", state, bodies, sameClock{}, func(err error) {
			if reasons++; err == nil {
				t.Fatal("spoilt without a reason")
			}
		})
		if reasons > 3 {
			t.Fatalf("%d reasons for three fields", reasons)
		}
		if got.record == nil {
			if !got.spoilt {
				t.Fatal("the record is missing")
			}
			return
		}
		if !slices.Contains(got.record.Received, 1) || !slices.IsSorted(got.record.Received) {
			t.Fatalf("received identifiers are %v", got.record.Received)
		}
		at := slices.IndexFunc(got.owed, func(o store.Owed) bool { return o.Number == 4 })
		if at < 0 || !slices.IsSortedFunc(got.owed, func(a, b store.Owed) int { return cmp.Compare(a.Number, b.Number) }) {
			t.Fatalf("owed is %+v", got.owed)
		}
		if len(got.messages) != len(got.owed) {
			t.Fatalf("%d messages of %d", len(got.messages), len(got.owed))
		}
		for _, m := range got.messages {
			if m != nil && m.Topic == "" {
				t.Fatalf("message %+v", m)
			}
		}
	})
}

// A bad field is left out, and the device has the rest.
func TestSpoiltFields(t *testing.T) {
	record := string(store.AppendRecord(nil, &store.Record{Device: "m-7"}))
	owed := string(store.AppendOwed(nil, &store.Owed{Size: 40, QoS: message.AtLeastOnce}))
	reasons := 0
	got := readFound("m-7", []string{"h/4", owed, "h/5", owed, "h/6", "\x01", "f/a", "\x01", "i/x", "", "r", record, "v/x/k", ""}, []string{"4", "spoilt", "5", seedMessage()},
		sameClock{}, func(error) { reasons++ })
	if reasons != 5 || got.record == nil || len(got.owed) != 2 || got.messages[0] != nil || got.messages[1] == nil || got.record.Subscriptions != nil || got.values != nil {
		t.Errorf("%d reasons, found %+v", reasons, got)
	}
	if got := readFound("m-7", []string{"r", "\x01", "h/4", owed}, nil, sameClock{}, func(error) {}); got.record != nil || !got.spoilt || got.owed != nil {
		t.Errorf("of a spoilt record: %+v", got)
	}
}

// Of any entry of the log of retained messages and of any field of the hash, a change that is read can be applied.
func FuzzRetained(f *testing.F) {
	f.Add("17-0", "16", "t", "a/1", "3", "17", "99", "0", seedMessage(), "16")
	f.Add("17-0", "16", "", "", "", "", "", "", "", "")
	f.Add("17-9", "x", "t", "a/1", "-1", "18446744073709551615", "18446744073709551615", "9223372036854775808", "x", "")
	f.Fuzz(func(t *testing.T, id, before, name, origin, number, place, expiry, size, record, at string) {
		x := rueidis.XRangeEntry{ID: id, FieldValues: map[string]string{"b": before, "t": name, "o": origin, "n": number, "p": place, "e": expiry, "s": size, "r": record, "a": at}}
		readPlace(&x)
		check := func(e entry, err error) {
			if err != nil {
				return
			}
			if e.expiry < 0 || e.size < 0 {
				t.Fatalf("entry %+v", e)
			}
			c, err := e.change("a/1", sameClock{})
			if err == nil && (c.Message == nil) != (e.record == "") {
				t.Fatalf("change %+v of %+v", c, e)
			}
			if err == nil && c.Message != nil && c.Size != 0 && c.Size < c.Message.Size() {
				t.Fatalf("change %+v is smaller than its message", c)
			}
			if err == nil && e.topic != "" {
				log := store.NewMemory(store.Options{})
				log.ApplyChange(c)
			}
		}
		check(readEntry(&x))
		check(readKept(name, place+" "+expiry+" "+size+" "+record))
		check(readKept(name, place))
		check(readKept(name, record))
	})
}
