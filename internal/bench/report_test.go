package bench

import (
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	result := Result{Messages: 4000, Elapsed: 2 * time.Second, CPU: 40 * time.Millisecond, Latency: newLatency()}
	for i := range 100 {
		record(result.Latency, time.Duration(i+1)*time.Millisecond)
	}
	record(result.Latency, time.Hour) // beyond the range: counts as the largest value
	r := Report{Title: "uplink"}
	r.AddResult("acknowledged", &result)
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(text.String()), " ")
	for _, want := range []string{
		"uplink acknowledged 4,000 elapsed 2.00 s acknowledged per second 2,000",
		"gateway CPU 2.00 % of a processor gateway CPU of one 10.0 us", "latency p50 51.", "latency max 60,0",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	var svg strings.Builder
	if err := r.WriteSVG(&svg); err != nil {
		t.Fatal(err)
	}
	if bars, _ := svgParts(t, svg.String()); len(bars) != len(percentiles) || bars[len(bars)-1] < 0.99 {
		t.Errorf("bars %v", bars)
	}
	if empty := (&Result{}); empty.Rate() != 0 || empty.Cost() != 0 {
		t.Error("nothing has a rate")
	}
}
