package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/longline/longline/internal/bench"
)

func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	var o options
	p, err := kong.New(&o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(args)
	return o, err
}

// outcome returns the table of a run on a machine that is half as fast as the machine of
// the goals.
func outcome(t *testing.T) *table {
	o, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	servers, err := o.servers()
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(&o, servers)
	for i, values := range []map[string][]float64{
		{"idle": {6155}, "connect": {44}, "qos0": {48_487}, "lag": {50}},
		{"idle": {59164}, "connect": {96}, "qos0": {46_596}, "lag": {0}},
		{"idle": {1000, 900, 1100}, "connect": {30}, "qos0": {100_000}, "lag": {0}},
	} {
		for key, all := range values {
			for _, v := range all {
				tab.Servers[i].Add(key, v)
			}
		}
	}
	tab.Servers[0].Version = "2.0.11"
	return tab
}

func TestText(t *testing.T) {
	tab := outcome(t)
	text := strings.Join(strings.Fields(tab.text()), " ")
	for _, want := range []string{
		"| median (min-max) | mosquitto 2.0.11 | mochi | longline | bar |",
		"subscription, B | 6,155 | 59,164 | 1,000 (900-1,100) | <= 1,000 |",
		"| times mosquitto | mosquitto 2.0.11 | mochi | longline |",
		"one in flight of each device, messages/s | 1.00 | 0.96 | 2.06 |",
		"lags, % | - | - | - |",
		"subscription, B | 1,000 | <= 1,000 held | <= 1,000 held | <= 1,000 held |",
		"| connect, us | 30.0 | <= 20.0 missed | <= 40.0 held | <= 20.0 missed |",
		"messages/s | 100,000 | >= 150,000 missed | >= 75,000 held | >= 150,000 missed |",
		"lags, % | 0.00 | <= 0.00 held | <= 0.00 held | - |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, tab.text())
		}
	}
}

func TestTextWithoutLongline(t *testing.T) {
	tab := outcome(t)
	tab.Servers = tab.Servers[:1]
	text := tab.text()
	if !strings.Contains(text, "times mosquitto") || strings.Contains(text, "times mochi") || strings.Contains(text, "held") {
		t.Error(text)
	}
}

func TestFiles(t *testing.T) {
	tab, folder := outcome(t), filepath.Join(t.TempDir(), "out")
	if err := tab.write(folder, io.Discard); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(folder, "mqtt.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got bench.Comparison
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if v := got.Servers[2].Measures["idle"]; v.Median != 1000 || len(v.Values) != 3 || got.Servers[0].Version != "2.0.11" {
		t.Errorf("%+v", got.Servers)
	}
	svg, err := os.ReadFile(filepath.Join(folder, "mqtt.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(svg), `class="p"`), 11; got != want { // one for each measure with a goal
		t.Errorf("the chart has %d panels, want %d", got, want)
	}
}

// Every goal has the figures of both references.
func TestGoals(t *testing.T) {
	for _, m := range measures {
		if m.goal == nil {
			continue
		}
		for _, base := range references {
			if m.goal.base(base) == 0 {
				t.Errorf("%s: what had %s?", m.Key, base)
			}
		}
		if m.goal.base("longline") != 0 {
			t.Errorf("%s: longline is its own measure", m.Key)
		}
	}
	for _, c := range []struct {
		goal         goal
		value, scale float64
		want         bool
	}{
		{least{10, 1, 1}, 10, 1, true}, {least{10, 1, 1}, 11, 1, false}, {least{10, 1, 1}, 11, 1.2, true},
		{most{10, 1, 1}, 10, 1, true}, {most{10, 1, 1}, 9, 1, false}, {most{10, 1, 1}, 9, 0.8, true},
	} {
		if got := c.goal.holds(c.value, c.scale); got != c.want {
			t.Errorf("%v times %v by %v: %v", c.goal, c.scale, c.value, got)
		}
	}
}

func TestServersByName(t *testing.T) {
	o, err := parse(t, "--only=longline,mochi")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := o.servers(); err != nil || len(s) != 2 || s[0].name != "mochi" {
		t.Errorf("%v, %v", s, err)
	}
	o.Only = []string{"nonsense"}
	if _, err := o.servers(); err == nil {
		t.Error("took a server that there is not")
	}
}
