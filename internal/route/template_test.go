package route

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func parse(t testing.TB, text string) Template {
	t.Helper()
	p, err := ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTemplateText(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"telemetry":                    "telemetry",
		"telemetry.{payload.site}":     "telemetry.north",
		"{source}":                     "m-7",
		"{topic}":                      "device/m-7/telemetry/power",
		"{topic[0]}-{topic[3]}":        "device-power",
		"{topic[1:3]}":                 "m-7/telemetry",
		"{topic[2:]}":                  "telemetry/power",
		"{topic[0:4]}":                 "device/m-7/telemetry/power",
		"{topic[3:]}":                  "power",
		"{payload.t}/{payload.n}":      "21.5/3",
		"{payload.big}":                "9007199254740993",
		"{payload.ok}":                 "true",
		`{payload.a.b[1]["c d"]}`:      "x",
		`{payload["site"]}`:            "north",
		"{payload.none?}|{payload.x?}": "|",
		"{topic[7]?}{topic[4:]?}":      "",
		"{property.unit}":              "kW",
		`{property["the unit"]}`:       "W",
		"{property.x?}":                "",
		"{content_type}{place}/{node}": "42/5",
		"{time}":                       "2026-11-27T08:05:09.250Z",
		"{time:2006/01/02 15h}":        "2026/11/27 08h",
		"{{{source}}}":                 "{m-7}",
		"a}}b{{c":                      "a}b{c",
		"{payload.a.b[0]}":             "1",
	} {
		p := parse(t, text)
		v := view(telemetry())
		got, err := p.Text(v, []byte("before "))
		if err != nil || string(got) != "before "+want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
		rendered, err := p.Render(v)
		if err != nil || rendered != want || p.String() != text {
			t.Errorf("%s: rendered %q, %v", text, rendered, err)
		}
	}
	v := view(telemetry())
	if got, err := parse(t, "{payload}").Render(v); err != nil || got != string(v.Message().Payload) {
		t.Errorf("the payload: %s, %v", got, err)
	}
	if !parse(t, "a{{").Literal() || !parse(t, "").Literal() || parse(t, "a{source}").Literal() {
		t.Error("Literal is wrong")
	}
}

func TestTemplateValue(t *testing.T) {
	for text, want := range map[string]any{
		"{payload.t}":               21.5,
		"{payload.n}":               int64(3),
		"{payload.big}":             int64(9007199254740993),
		"{payload.ok}":              true,
		"{payload.none}":            nil,
		"{payload.x?}":              nil,
		"{payload.site}":            "north",
		"{payload.tags}":            []any{"p", "q"},
		"{payload.a}":               map[string]any{"b": []any{int64(1), map[string]any{"c d": "x"}}},
		"{payload.n}.":              "3.",
		"3":                         "3",
		"{place}":                   int64(42),
		"{node}":                    int64(5),
		"{time}":                    time.Date(2026, 11, 27, 8, 5, 9, 250e6, time.UTC),
		"{time:2006}":               "2026",
		"{source}":                  "m-7",
		"{content_type}":            "",
		"{content_type?}":           nil,
		"{property.x?}":             nil,
		"{topic[9]?}":               nil,
		"{topic[1]?}":               "m-7",
		"{payload.x?}{property.x?}": "",
	} {
		got, err := parse(t, text).Value(view(telemetry()))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v, want %#v", text, got, err, want)
		}
	}
	v := view(telemetry())
	if got, err := parse(t, "{payload}").Value(v); err != nil || !reflect.DeepEqual(got, v.Message().Payload) {
		t.Errorf("the payload: %v, %v", got, err)
	}
}

func TestTemplateErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{payload.missing}":   `template "{payload.missing}": {payload.missing}: the payload has no such field`,
		"x/{payload.a.b[2]}":  `template "x/{payload.a.b[2]}": {payload.a.b[2]}: the payload has no such field`,
		"{payload.site.x}":    `template "{payload.site.x}": {payload.site.x}: the payload has no such field`,
		"a{payload.none}":     `template "a{payload.none}": {payload.none}: the field is null`,
		"a{payload.a}":        `template "a{payload.a}": {payload.a}: the field is a list or a map`,
		"{topic[4]}":          `template "{topic[4]}": {topic[4]}: the topic has no such level`,
		"{topic[2:5]}":        `template "{topic[2:5]}": {topic[2:5]}: the topic has no such level`,
		"{topic[4:]}":         `template "{topic[4:]}": {topic[4:]}: the topic has no such level`,
		"{property.missing}":  `template "{property.missing}": {property.missing}: the message has no such property`,
		"{payload.tags[2]?}x": "",
	} {
		p := parse(t, text)
		for range 2 {
			got, err := p.Text(view(telemetry()), []byte("before"))
			if want != "" && (err == nil || !strings.HasPrefix(err.Error(), want) || string(got) != "before") {
				t.Errorf("%s: %s, %v, want %s", text, got, err, want)
			}
		}
	}
	m := telemetry()
	m.Payload = []byte("{")
	for _, text := range []string{"{payload.a}", "{payload.a?}", "x{payload.a?}"} {
		if x, err := parse(t, text).Value(view(m)); err == nil || !strings.Contains(err.Error(), "payload: JSON at byte 1") {
			t.Errorf("%s: %v, %v", text, x, err)
		}
	}
}

// What the gateway adds comes before what a device says, and ends with the message.
func TestAddedProperties(t *testing.T) {
	v, p := view(telemetry()), parse(t, "{property.unit} {property.x?}")
	v.AddProperty("unit", "J")
	v.AddProperty("x", "y")
	added := v.Added()
	if got, err := p.Render(v); err != nil || got != "J y" {
		t.Errorf("%s, %v", got, err)
	}
	v.Reset(telemetry())
	v.AddProperty("z", "z")
	if got, err := p.Render(v); err != nil || got != "kW " || len(added) != 2 || added[0].Value != "J" {
		t.Errorf("%s, %v, %v", got, err, added)
	}
}

// A device cannot make a text longer than its bound, whatever part it comes by.
func TestTemplateBound(t *testing.T) {
	m := telemetry()
	m.Topic, m.Source = "a/"+strings.Repeat("x", 300), strings.Repeat("x", 300)
	m.Payload = []byte(`{"x":"` + strings.Repeat("x", 300) + `","n":1}`)
	m.Properties[0].Value = strings.Repeat("x", 300)
	for _, text := range []string{"{topic}", "{topic[1]}", "{topic[1:]}", "{source}", "{payload}", "{payload.x}", "{property.unit}", strings.Repeat("{payload.n}", 60) + "{source}"} {
		for _, text := range []string{text, "a" + text} {
			p := parse(t, text).AtMost(249)
			if got, err := p.Render(view(m)); err == nil || !strings.Contains(err.Error(), "too long") {
				t.Errorf("%s: %d bytes, %v", text, len(got), err)
			}
			if got, err := p.AtMost(1000).Render(view(m)); err != nil || len(got) < 300 {
				t.Errorf("%s: %d bytes, %v", text, len(got), err)
			}
		}
	}
	m.Payload = []byte(`"` + strings.Repeat("x", MaxText) + `"`)
	if _, err := parse(t, "{payload}").Render(view(m)); err == nil {
		t.Error("there is no bound without AtMost")
	}
}

func TestParseTemplateErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a{":                          "character 2: a { has no }",
		"a}":                          "character 2: a } has no {",
		"{}":                          "character 1: {} is unknown",
		"x {surce}":                   "character 3: {surce} is unknown: want one of {source}",
		"{payload.}":                  "{payload.}: want the path",
		"{payload.a b}":               `{payload.a b}: write "a b" as ["a b"]`,
		"{payload[x]}":                "{payload[x]}: want an index",
		"{payload[-1]}":               "{payload[-1]}: want an index",
		"{payload[99999999]}":         "{payload[99999999]}: want an index",
		"{payload.a]}":                `write "a]" as`,
		`{payload["a]}`:               "a { has no }",
		"{topic[x]}":                  "{topic[x]}: want a level",
		"{topic[1:1]}":                "{topic[1:1]}: want a level",
		"{topic[-1]}":                 "{topic[-1]}: want a level",
		"{topic[]}":                   "{topic[]}: want a level",
		"{topic[1}":                   "{topic[1}: want a level",
		"{property.}":                 "{property.}: want a name",
		"{property[3]}":               "{property[3]}: want one name",
		`{property["a"].b}`:           "want one name",
		"{time:}":                     "want a layout",
		"{time:abc}":                  `"abc" is no layout`,
		strings.Repeat("{topic}", 65): "want at most 64 parts",
		"{payload" + strings.Repeat(".a", 65) + "}": "the path is too long",
	} {
		_, err := ParseTemplate(text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "template \"") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseTemplate(f *testing.F) {
	for _, text := range []string{"telemetry.{payload.site}", "{topic[1:3]}{{}}", `{payload.a[3]["b}"]?}`, "{time:2006-01-02}", "{property.a}{place}{node}"} {
		f.Add(text, `{"a":[1,2,3,{"b}":true}]}`, 100)
	}
	f.Fuzz(func(t *testing.T, text, payload string, most int) {
		p, err := ParseTemplate(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "template \"") || len(err.Error()) > 2*maxTemplate {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		m := telemetry()
		m.Payload = []byte(payload)
		v := view(m)
		p = p.AtMost(most)
		got, err := p.Text(v, nil)
		if err == nil && len(got) > max(most, 0) {
			t.Errorf("%q: %d bytes, more than %d", text, len(got), most)
		}
		rendered, again := p.Render(v)
		if (err == nil) != (again == nil) || err == nil && rendered != string(got) {
			t.Errorf("%q: Text is %q, %v, Render is %q, %v", text, got, err, rendered, again)
		}
		if p.Literal() && err == nil {
			if x, _ := p.Value(v); x != rendered {
				t.Errorf("%q: %v is not %q", text, x, rendered)
			}
		}
	})
}
