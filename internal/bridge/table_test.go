package bridge

import (
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
)

func TestTable(t *testing.T) {
	table, err := ParseTable([]string{
		"device/+/telemetry -> site7/{topic[1]}/t",
		"device/+/events/# -> site7/{topic[1]}/{topic[3:]}",
		"area -> {payload.area}/{property.floor}/x",
		"raw -> {payload}",
		"braces->{{{topic}}}",
		`odd -> {payload["a}b"]}`,
		"same/#",
		"device/d9/telemetry -> never",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		topic, payload string
		want           string // in brackets a part of the error; empty if no line is for it
	}{
		{"device/d1/telemetry", `{}`, "site7/d1/t"},
		{"device/d9/telemetry", `{}`, "site7/d9/t"},
		{"device/d1/events/door/open", `{}`, "site7/d1/door/open"},
		{"device/d1/events", `{}`, "[no such level]"},
		{"area", `{"area":"north"}`, "north/2/x"},
		{"area", `{"area":"a/b"}`, "[slash]"},
		{"area", `{"area":"+"}`, "[wildcard]"},
		{"area", `{"area":"#"}`, "[wildcard]"},
		{"area", `{"area":"$SYS"}`, "[begins with $]"},
		{"area", `{"area":"a\u0000"}`, "[NUL]"},
		{"area", `{}`, "[no such field]"},
		{"raw", `text`, "text"},
		{"raw", `a/b`, "[slash]"},
		{"raw", ``, "[is empty]"},
		{"raw", strings.Repeat("x", 65536), "[longer]"},
		{"raw", "\xff", "[UTF-8]"},
		{"braces", ``, "{braces}"},
		{"odd", `{"a}b":"c"}`, "c"},
		{"same/thing", ``, "same/thing"},
		{"other", ``, ""},
	} {
		var v route.View
		v.Reset(&message.Message{Topic: test.topic, Payload: []byte(test.payload), Properties: []message.Property{{Key: "floor", Value: "2"}}})
		to, ok, err := table.Map(&v)
		if wrong, isError := strings.CutPrefix(test.want, "["); isError {
			if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(wrong, "]")) || ok {
				t.Errorf("%s %.50s: %q, %v, want %s", test.topic, test.payload, to, err, test.want)
			}
			continue
		}
		if to != test.want || ok != (test.want != "") || err != nil {
			t.Errorf("%s %.50s: %q, %t, %v, want %q", test.topic, test.payload, to, ok, err, test.want)
		}
	}
}

func TestWrongTables(t *testing.T) {
	for _, line := range []string{"", "a/#/b", "-> x", "a ->", "a -> {nothing}", "a -> {topic", "$share/a", "a -> {payload.}"} {
		if _, err := ParseTable([]string{line}); err == nil {
			t.Errorf("%q is taken", line)
		}
	}
	if _, err := ParseTable(make([]string, mostRules+1)); err == nil {
		t.Error("any number of lines is taken")
	}
}

func TestFilters(t *testing.T) {
	table, err := ParseTable([]string{"a/+/x -> y", "a/# -> z", "b/1", "b/1 -> {topic}", "$share/g/a/b -> q", "c/+", "+/d"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := table.Filters(), []string{"a/#", "b/1", "$share/g/a/b", "c/+", "+/d"}; !slices.Equal(got, want) {
		t.Errorf("subscribed to are %v", got)
	}
	if got := table.Matched(); len(got) != 7 || got[4] != "a/b" {
		t.Errorf("compared are %v", got)
	}
}

// Whatever a device writes, its topic is one, with as many levels as the template has, and not the broker's own.
func FuzzTable(f *testing.F) {
	table, err := ParseTable([]string{"# -> {payload.a}/{topic[1]}/{property.p}"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("x/y", `{"a":"b"}`, "c")
	f.Add("x/y", `{"a":"$b"}`, "c/#")
	f.Fuzz(func(t *testing.T, topic, payload, property string) {
		var v route.View
		v.Reset(&message.Message{Topic: topic, Payload: []byte(payload), Properties: []message.Property{{Key: "p", Value: property}}})
		to, ok, _ := table.Map(&v)
		if ok && (CheckTopic(to) != nil || strings.Count(to, "/") != 2) {
			t.Errorf("%q", to)
		}
	})
}
