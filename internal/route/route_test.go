package route

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/format"
	"github.com/longline/longline/internal/message"
)

// telemetry is a message as the tests use it.
func telemetry() *message.Message {
	return (&message.Message{
		Topic: "device/m-7/telemetry/power", Source: "m-7", QoS: 1, Time: time.Date(2026, 11, 27, 8, 5, 9, 250e6, time.UTC).UnixMilli(),
		Payload:    []byte(`{"site":"north","t":21.5,"n":3,"big":9007199254740993,"ok":true,"none":null,"a":{"b":[1,{"c d":"x"}]},"tags":["p","q"]}`),
		Properties: []message.Property{{Key: "unit", Value: "kW"}, {Key: "the unit", Value: "W"}, {Key: "unit", Value: "second"}},
	}).Clone()
}

func view(m *message.Message) *View {
	v := &View{Node: 5, Stream: "telemetry"}
	v.Reset(m)
	v.Place = 42
	return v
}

func open(t testing.TB, c Config) *Route {
	t.Helper()
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := Open(c, Options{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhere(t *testing.T) {
	for where, want := range map[string]string{
		``:                                          "true",
		`payload.t > 20`:                            "true",
		`payload.n > 2.5 && payload.n == 3.0`:       "true",
		`payload.big == 9007199254740993`:           "true",
		`payload.big == 9007199254740992`:           "false",
		`payload.ok`:                                "true",
		`payload.site in ["north", "south"]`:        "true",
		`payload.none == null`:                      "true",
		`has(payload.t) && !has(payload.missing)`:   "true",
		`payload.?missing.orValue(1) == 1`:          "true",
		`payload.a.b[1]["c d"] == "x"`:              "true",
		`payload.a == {"b": [1, {"c d": "x"}]}`:     "true",
		`payload["a"]["b"][0] == 1`:                 "true",
		`payload.tags.exists(x, x == "q")`:          "true",
		`payload.tags.all(x, x != "q")`:             "false",
		`"q" in payload.tags && "t" in payload`:     "true",
		`payload.tags + ["r"] == ["p", "q", "r"]`:   "true",
		`payload.exists(k, k == "tags")`:            "true",
		`size(payload.tags) == 2`:                   "true",
		`payload == payload && payload.a.b != []`:   "true",
		`topic.startsWith("device/")`:               "true",
		`levels[1] == source && size(levels) == 4`:  "true",
		`levels == ["device"]`:                      "false",
		`properties.unit == "kW"`:                   "true",
		`properties["the unit"].matches("^[A-Z]$")`: "true",
		`content_type == "" && qos == 1`:            "true",
		`time > timestamp("2026-01-01T00:00:00Z")`:  "true",
		`time.getHours("+01:00") == 9`:              "true",
		`time.getHours() == 8`:                      "true",
		`type(payload.a) == map`:                    "true",

		`payload.missing > 1`:                     "where: no such key: missing",
		`properties.missing == ""`:                "where: no such key: missing",
		`payload.t`:                               "where: want true or false, not double",
		`payload.site > 20`:                       "where: no such overload",
		`payload.tags[2] == ""`:                   "where: index out of bounds: 2",
		`topic == "x" && payload.missing > 1`:     "false",
		`payload.missing > 1 || topic.size() > 1`: "true",
	} {
		keep, err := open(t, Config{Where: where}).Apply(view(telemetry()))
		switch {
		case err != nil && !strings.HasPrefix(err.Error(), want):
			t.Errorf("%s: %v, want %s", where, err, want)
		case err == nil && want != map[bool]string{true: "true", false: "false"}[keep]:
			t.Errorf("%s: %v, want %s", where, keep, want)
		case err != nil && keep:
			t.Errorf("%s: kept in spite of an error", where)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	long := strings.Repeat("x", maxTemplate+1)
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Where: "paylod.t > 20"}, "where: character 1: undeclared reference to 'paylod'"},
		{Config{Where: "payload.t >"}, "where: character 12: "},
		{Config{Where: "topic ==\n  tpic"}, "where: line 2, character 3: undeclared reference to 'tpic'"},
		{Config{Where: "topic > 3"}, "where: character 7: found no matching overload"},
		{Config{Where: "topic"}, "where: want an expression that is true or false, such as payload.t > 20, not one that is a string"},
		{Config{Where: "topic.matches(payload.p)"}, "where: matches: want a pattern in quotes"},
		{Config{Where: `topic.matches("(")`}, "where: "},
		{Config{Where: "levels.all(x, levels.exists(y, x == y))"}, "where: want no loop"},
		{Config{Where: "levels.all(x, payload.?a.optMap(a, a == x).orValue(true))"}, "where: want no loop"},
		{Config{Where: "time.getHours(payload.zone) > 3"}, "where: want a time zone in quotes"},
		{Config{Where: long}, "where: want an expression of at most"},
		{Config{Set: map[string]string{"a": "{topik}"}}, `set.a: template "{topik}", character 1: {topik} is unknown: want one of`},
		{Config{Set: map[string]string{"a.b": "x{topic"}}, `set.a.b: template "x{topic", character 2: a { has no }`},
		{Config{Set: map[string]string{"a b": "1"}}, `set: field "a b": write "a b" as ["a b"]`},
		{Config{Set: map[string]string{"a[1]": "1"}}, `set.a[1]: field "a[1]": items of a list cannot be changed`},
		{Config{Set: map[string]string{"a": "{payload}"}}, `set.a: {payload} is the whole payload`},
		{Config{Set: map[string]string{"a": long}}, `set.a: template "xxx`},
		{Config{Drop: []string{"a", "a..b"}}, `drop: "a..b": want the path of a field`},
		{Config{Drop: make([]string, maxChanges+1)}, `drop: want at most 256 fields`},
		{Config{Format: format.Config{Name: "yaml"}}, `format.name: want one of`},
	} {
		err := c.config.WithDefaults().Validate()
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

func TestSetAndDrop(t *testing.T) {
	for _, c := range []struct {
		config        Config
		payload, want string
	}{
		{Config{}, `{"a" : 1}`, `{"a" : 1}`},
		{Config{}, `no JSON`, `no JSON`},
		{Config{Drop: []string{"a"}}, `{"a":1,"b":2}`, `{"b":2}`},
		{Config{Drop: []string{"x.y", "a.b", "missing"}}, `{"a":{"b":1,"c":2}}`, `{"a":{"c":2}}`},
		{Config{Set: map[string]string{"unit": "kW", "n": "3", "f": "1.5", "ok": "true", "none": "null", "l": "[1,\"x\"]", "text": `"3"`, "brace": "{{}}"}}, `{"a":1}`,
			`{"a":1,"brace":"{}","f":1.5,"l":[1,"x"],"n":3,"none":null,"ok":true,"text":"3","unit":"kW"}`},
		{Config{Set: map[string]string{"device.id": "{source}", "device.kind": "{topic[2]}"}}, `{}`, `{"device":{"id":"m-7","kind":"telemetry"}}`},
		{Config{Set: map[string]string{"temperature": "{payload.t}", "at": "{time}", "node": "{node}"}, Drop: []string{"t"}}, `{"t":9007199254740993}`,
			`{"at":"2026-11-27T08:05:09.250Z","node":5,"temperature":9007199254740993}`},
		{Config{Set: map[string]string{"a": "{payload.b}", "b": "{payload.a}"}}, `{"a":1,"b":{"c":[true]}}`, `{"a":{"c":[true]},"b":1}`},
		{Config{Set: map[string]string{"a": "{payload.missing?}"}}, `{}`, `{"a":null}`},
		{Config{Set: map[string]string{`["a.b"]`: "1"}}, `{}`, `{"a.b":1}`},

		{Config{Set: map[string]string{"a": "{payload.missing}"}}, `{}`, `set: template "{payload.missing}": {payload.missing}: the payload has no such field`},
		{Config{Set: map[string]string{"a.b": "1"}}, `{"a":3}`, `set: field a: want a map`},
		{Config{Set: map[string]string{"a": "1"}}, `[]`, `set: want a map, not list`},
		{Config{Drop: []string{"a"}}, `{`, `payload: JSON at byte 1: want`},
		{Config{Format: format.Config{Name: "json"}}, `{"a" : 1}`, `{"a":1}`},
		{Config{Format: format.Config{Name: "json"}}, `x`, `payload: JSON at byte 0: want`},
		{Config{Where: "payload.a == 1"}, `x`, `payload: JSON at byte 0: want`},
	} {
		m := telemetry()
		m.Payload = []byte(c.payload)
		v := view(m)
		keep, err := open(t, c.config).Apply(v)
		var got []byte
		if err == nil {
			got, _, err = v.Encoded()
		}
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != c.want && (err == nil || !strings.HasPrefix(string(got), c.want)) || keep == (err != nil) && c.config.Format.Name == "" {
			t.Errorf("%+v\n%s\nbecomes %s\nwant    %s", c.config, c.payload, got, c.want)
		}
		if string(m.Payload) != c.payload {
			t.Errorf("%+v: the message changed to %s", c.config, m.Payload)
		}
	}
}

// What a View lent stays as it is when the View goes on to the next message.
func TestWhatAViewLentStays(t *testing.T) {
	r := open(t, Config{Set: map[string]string{"x": "{topic[1]}"}})
	topic, site := parse(t, "{topic}/{payload.site}"), parse(t, "{payload.site}")
	v := view(telemetry())
	if _, err := r.Apply(v); err != nil {
		t.Fatal(err)
	}
	first, _, err := v.Encoded()
	if err != nil {
		t.Fatal(err)
	}
	text, _ := topic.Render(v)
	value, _ := site.Value(v)
	encoded := string(first)

	other := telemetry()
	other.Topic, other.Payload = "xxxxxx/xxx/xxxxxxxxx/xxxxx", []byte(strings.ReplaceAll(string(other.Payload), "north", "SOUTH"))
	v.Reset(other)
	if _, err := r.Apply(v); err != nil {
		t.Fatal(err)
	}
	if second, _, _ := v.Encoded(); !strings.Contains(string(second), "SOUTH") {
		t.Errorf("the second is %s", second)
	}
	_, _ = topic.Render(v)
	_, _ = site.Value(v)
	if string(first) != encoded || text != "device/m-7/telemetry/power/north" || value != "north" {
		t.Errorf("%s, %s, %v", first, text, value)
	}
}

// A model's answer is set between the route and the target.
func TestSetOnAView(t *testing.T) {
	v := view(telemetry())
	if _, err := open(t, Config{Drop: []string{"a"}}).Apply(v); err != nil {
		t.Fatal(err)
	}
	before, _, _ := v.Encoded()
	if err := v.Set([]string{"model", "score"}, 0.5); err != nil {
		t.Fatal(err)
	}
	after, _, err := v.Encoded()
	if err != nil || strings.Contains(string(before), "score") || !strings.Contains(string(after), `"model":{"score":0.5}`) {
		t.Errorf("%s, then %s, %v", before, after, err)
	}
}

// A device cannot make an expression take long, whatever it sends.
func TestWorkIsBounded(t *testing.T) {
	var many strings.Builder
	many.WriteString(`{"l":[0`)
	for range 20_000 {
		many.WriteString(",1")
	}
	many.WriteString(`],"text":"` + strings.Repeat("x", 60_000) + `"}`)
	m := telemetry()
	m.Payload = []byte(many.String())
	m.Properties[0].Value = strings.Repeat("x", 60_000)
	for _, where := range []string{
		`payload.l.all(x, payload.l[19999] == 1)`,
		`payload.l.all(x, payload.l == payload.l)`,
		`payload.l.all(x, !(7 in payload.l))`,
		`payload.l.all(x, "l" in payload && size(payload.l + payload.l) > 1)`,
		`payload.l.map(x, payload.text).size() > 0`,
		`payload.l.all(x, payload.text.contains("y") || x < 2)`,
		`payload.l.all(x, properties.unit != "")`,
	} {
		if keep, err := open(t, Config{Where: where}).Apply(view(m)); keep || !errors.Is(err, errWork) {
			t.Errorf("%s: %v, %v", where, keep, err)
		}
	}
	for _, where := range []string{`payload.l.all(x, x >= 0 && x < 2)`, `payload.l.filter(x, x > 0).all(x, x == 1)`, `payload == payload`, `payload.text.matches("^x*$")`} {
		if keep, err := open(t, Config{Where: where}).Apply(view(m)); !keep || err != nil {
			t.Errorf("%s: %v, %v", where, keep, err)
		}
	}
}

// A device cannot make the gateway copy a large field for each of many templates.
func TestCopiesAreBounded(t *testing.T) {
	c := Config{Set: make(map[string]string)}
	for i := range 200 {
		c.Set[fmt.Sprint("f", i)] = "{payload.l}"
	}
	r := open(t, c)
	m := telemetry()
	m.Payload = []byte(`{"l":[1,2,3]}`)
	if _, err := r.Apply(view(m)); err != nil {
		t.Error(err)
	}
	m.Payload = []byte(`{"l":[` + strings.Repeat("1,", 20_000) + `1]}`)
	v := view(m)
	if _, err := r.Apply(v); !errors.Is(err, errWork) || !strings.Contains(err.Error(), `template "{payload.l}"`) {
		t.Error(err)
	}
	v.Reset(m)
	if x, err := parse(t, "{payload.l}").Value(v); err != nil || len(x.([]any)) != 20_001 {
		t.Errorf("one copy: %v", err)
	}
}

// A message of which a route needs nothing is not decoded, and costs no allocation.
func TestNothingIsDecodedInVain(t *testing.T) {
	v := view(telemetry())
	topic := parse(t, "telemetry.{topic[2]}").AtMost(249)
	source := parse(t, "{source}")
	var dst []byte
	for _, r := range []*Route{open(t, Config{}), open(t, Config{Payload: format.Config{Name: "cbor"}})} {
		m := telemetry()
		if n := testing.AllocsPerRun(100, func() {
			v.Reset(m)
			if keep, err := r.Apply(v); !keep || err != nil {
				t.Fatal(err)
			}
			_, _, _ = v.Encoded()
			dst, _ = topic.Text(v, dst[:0])
			_, _ = source.Render(v)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
	m := telemetry()
	m.Payload = []byte("no JSON")
	v.Reset(m)
	if keep, err := open(t, Config{Where: `source == "m-7" || payload.t > 3`}).Apply(v); !keep || err != nil || v.from != nil {
		t.Errorf("%v, %v", keep, err)
	}
}

func FuzzApply(f *testing.F) {
	f.Add(`{"t":21,"a":{"b":[1]}}`, "", "payload.t > 20", "a.b", "{payload.a}")
	f.Add("<message><a>1</a></message>", "text/xml", "payload.a.size() > 0", "x", "{topic[1:]}")
	f.Add("\xa1\x61a\x01", "application/cbor", "payload.all(k, payload[k] == 1)", `["a b"]`, "{payload.a?} {property.unit}")
	f.Add("[]", "", "payload == [] && levels[0].matches('x')", "a", "[1]")
	f.Fuzz(func(t *testing.T, payload, contentType, where, name, value string) {
		c := Config{Where: where, Set: map[string]string{name: value}, Drop: []string{"dropped"}}.WithDefaults()
		if err := c.Validate(); err != nil {
			return
		}
		r, err := Open(c, Options{Offline: true})
		if err != nil {
			t.Fatalf("valid, but %v", err)
		}
		m := telemetry()
		m.Payload, m.ContentType = []byte(payload), contentType
		v := view(m)
		keep, err := r.Apply(v)
		if err != nil {
			if keep {
				t.Error("kept in spite of an error")
			}
			return
		}
		if string(m.Payload) != payload {
			t.Error("the message changed")
		}
		encoded, _, err := v.Encoded()
		if !keep || err != nil {
			return
		}
		again := telemetry() // what it made can be read
		again.Payload, again.ContentType = encoded, contentType
		w := view(again)
		tree, err := w.Tree()
		if err != nil {
			t.Fatalf("%q became %q: %v", payload, encoded, err)
		}
		names, _ := parseNames(name)
		if len(names) == 1 && names[0] == "dropped" {
			return
		}
		root, _ := v.Tree()
		want, got := root.Root(), tree.Root()
		for _, n := range names {
			var set, kept bool
			want, set = want.Field(n)
			if got, kept = got.Field(n); !set || !kept {
				t.Fatalf("%q has no %q", encoded, names)
			}
		}
		if want.Kind() == format.Bool && !reflect.DeepEqual(got.Any(), want.Any()) {
			t.Errorf("%q has %v for %v", encoded, got.Any(), want.Any())
		}
	})
}
