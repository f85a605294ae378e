package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestChartIsWellFormed(t *testing.T) {
	c := Chart{Title: `<title> & "quotes"`, Subtitle: "sub", Panels: []Panel{
		{Title: "one", Bars: []Bar{{Label: "a<b", Value: 4, Low: 3, High: 5, Accent: true}, {Label: "b", Value: 1}}},
		{Title: "nothing", Bars: []Bar{{Label: "zero"}}},
		{Title: "third", Bars: []Bar{{Label: "c", Value: 12_345}}},
	}}
	var b strings.Builder
	if err := c.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	bars, texts := svgParts(t, b.String())
	if want := []float64{4 / 5.0, 1 / 5.0, 0, 1}; !near(bars, want) {
		t.Errorf("bars have the lengths %v, want %v", bars, want)
	}
	for _, want := range []string{c.Title, "a<b", "12,345", "4.00"} {
		if !strings.Contains(texts, want) {
			t.Errorf("the chart does not say %q", want)
		}
	}
}

// svgParts returns the bars' lengths as parts of the longest possible one, and all text.
func svgParts(t *testing.T, svg string) (bars []float64, texts string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return bars, texts
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch x := token.(type) {
		case xml.CharData:
			texts += string(x)
		case xml.StartElement:
			a := make(map[string]string)
			for _, attr := range x.Attr {
				a[attr.Name.Local] = attr.Value
			}
			if x.Name.Local == "rect" && a["class"] != "" {
				w, err := strconv.ParseFloat(a["width"], 64)
				if err != nil {
					t.Fatal(err)
				}
				bars = append(bars, w/(panelWidth-labelWidth-valueWidth))
			}
		}
	}
}

func near(got, want []float64) bool {
	if len(got) != len(want) {
		return false
	}
	for i := range got {
		if d := got[i] - want[i]; d > 0.01 || d < -0.01 {
			return false
		}
	}
	return true
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 4.183: "4.18", 10.06: "10.1", 471.2: "471", 11167: "11,167", 1234567: "1,234,567"} {
		if got := Short(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}

func TestSpreadOf(t *testing.T) {
	if got := SpreadOf(); got.Values != nil || got.Median != 0 {
		t.Errorf("nothing: %+v", got)
	}
	if got, want := SpreadOf(3, 1, 2), (Spread{2, 1, 3, []float64{3, 1, 2}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := SpreadOf(4, 1, 2, 3).Median; got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
}
