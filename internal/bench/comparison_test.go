package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type named string

func (n named) Name() string { return string(n) }

func compared() *Comparison {
	c := NewComparison(map[string]int{"reps": 3}, []Measure{{"few", "echo", "us"}, {"idle", "memory", "B"}, {"tls", "TLS", "us"}},
		[]named{"floor", "longline"})
	c.Server("floor").Add("few", 4)
	c.Server("floor").Add("idle", 0)
	for _, v := range []float64{5, 4, 6} {
		c.Server("longline").Add("few", v)
	}
	c.Server("longline").Add("idle", 300)
	c.Server("longline").Version = "v1"
	return c
}

func TestComparisonTables(t *testing.T) {
	c := compared()
	for _, tt := range []struct {
		got  Grid
		want [4]string // lines
	}{
		{c.Medians(), [4]string{"median (min-max)|floor|longline v1", "echo, us|4.00|5.00 (4.00-6.00)", "memory, B|0.00|300", "TLS, us|-|-"}},
		{c.Times("floor"), [4]string{"times floor|floor|longline v1", "echo, us|1.00|1.25", "memory, B|-|-", "TLS, us|-|-"}},
		{c.Times("longline"), [4]string{"times longline|floor|longline v1", "echo, us|0.80|1.00", "memory, B|0.00|1.00", "TLS, us|-|-"}},
		{c.Times("gws"), [4]string{"times gws|floor|longline v1", "echo, us|-|-", "memory, B|-|-", "TLS, us|-|-"}},
	} {
		for i, want := range tt.want {
			if got := strings.Join(tt.got[i], "|"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	c.Server("longline").Add("tls", 7)
	if got := c.Times("floor")[3][2]; got != "-" {
		t.Errorf("times what the floor does not have: %s", got)
	}
}

func TestRepeat(t *testing.T) {
	c, broken := compared(), errors.New("broken")
	var log strings.Builder
	var order []string
	note := func(i int, s *Summary) error {
		if order = append(order, fmt.Sprint(i, s.Name)); len(order) == 4 {
			return broken
		}
		return nil
	}
	err := c.Repeat(3, &log, note)
	if got, want := strings.Join(order, ", "), "0floor, 1longline, 0floor, 1longline"; got != want {
		t.Errorf("measured %s, want %s", got, want)
	}
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "longline") {
		t.Errorf("the error does not tell the server: %v", err)
	}
	if !strings.Contains(log.String(), "] repetition 2 of 3: longline\n") {
		t.Errorf("the log is %q", log.String())
	}
}

func TestComparisonFiles(t *testing.T) {
	c, folder := compared(), filepath.Join(t.TempDir(), "out")
	c.Seconds = 12
	if err := c.WriteFiles(folder, "echo", &Chart{Title: "echo", Panels: []Panel{c.Panel(c.Measures[0])}}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(folder, "echo.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got Comparison
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if v := got.Server("longline").Measures["few"]; v.Median != 5 || len(v.Values) != 3 || got.Server("longline").Version != "v1" || got.Seconds != 12 {
		t.Errorf("%s", b)
	}
	svg, err := os.ReadFile(filepath.Join(folder, "echo.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if bars, texts := svgParts(t, string(svg)); !near(bars, []float64{4 / 6.0, 5 / 6.0}) || !strings.Contains(texts, "echo, us") {
		t.Errorf("bars %v, %s", bars, texts)
	}
}

func TestChosen(t *testing.T) {
	for only, want := range map[string]string{"": "[a b c]", "c,a": "[a c]", "a,nonsense": "[]"} {
		got, err := Chosen([]named{"a", "b", "c"}, strings.FieldsFunc(only, func(r rune) bool { return r == ',' }))
		if fmt.Sprint(got) != want || (err != nil) != (want == "[]") {
			t.Errorf("of %q: %v, %v", only, got, err)
		}
	}
}
