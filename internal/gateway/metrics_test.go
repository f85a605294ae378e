package gateway

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/longline/longline/internal/gateway/door"
)

// gathered is the sum of each metric's values by name, and by name and label value.
func gathered(t testing.TB, g *Gateway) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(g)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			v := value(m)
			values[family.GetName()] += v
			for _, label := range m.Label {
				values[family.GetName()+"/"+label.GetValue()] += v
			}
		}
	}
	return values
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return float64(m.Histogram.GetSampleCount())
}

func TestMetricsTellWhatHappened(t *testing.T) {
	w := newWorld(t, settings{})
	before := gathered(t, w.gateway)
	a, b := w.greeted("/connect/a", "t/#"), w.greeted("/connect/b")
	b.say(`{"op":"pub","id":1,"topic":"t/1","payload":1,"qos":1}`, `{"op":"pub","topic":"$x","payload":1}`)
	b.expectAcks(1, 1)
	m := a.nextPacket()
	if m.Op != "msg" {
		t.Fatalf("%+v, want a msg", m)
	}
	a.quiet() // b's second publication has come too
	b.quiet()
	for _, refused := range []string{"/nowhere", "/connect"} {
		w.connect(refused)
	}
	ask(t, w.dial(), "GET /connect/c HTTP/1.1\r\nHost: x\r\n\r\n")
	half := w.dial()
	if _, err := half.Write([]byte("GET /")); err != nil {
		t.Fatal(err)
	}
	b.say(`nonsense`)
	if e := b.closed(); e.Code != 1007 {
		t.Errorf("closed with %d", e.Code)
	}
	w.awaitPresence("b", false)

	now := gathered(t, w.gateway)
	for name, want := range map[string]float64{
		"longline_connections_accepted_total":         6,
		"longline_handshakes_total/accepted":          2,
		"longline_handshakes_total/refused_400":       1,
		"longline_handshakes_total/refused_404":       1,
		"longline_handshakes_total/refused_426":       1,
		"longline_closes_total/malformed_packet":      1,
		"longline_closes_total":                       1,
		"longline_packets_received_total/pub":         2,
		"longline_packets_received_total/sub":         1,
		"longline_sessions/online":                    1,
		"longline_sessions/away":                      1,
		"longline_messages_dropped_total/not_allowed": 1,
		"longline_messages_dropped_total":             1,
		"longline_subscriptions":                      1,
		"longline_filters":                            1,
		"longline_delivery_latency_seconds":           1,
	} {
		if got := now[name] - before[name]; got != want {
			t.Errorf("%s rose by %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"longline_received_bytes_total", "longline_sent_bytes_total", "longline_messages_published_total", "longline_messages_delivered_total"} {
		if now[name] <= before[name] {
			t.Errorf("%s did not rise", name)
		}
	}
}

func TestMetricsKeepTheConventions(t *testing.T) {
	w := newWorld(t, settings{})
	w.greeted("/connect/a")
	problems, err := testutil.CollectAndLint(w.gateway)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestHistogram(t *testing.T) {
	var h door.Histogram
	for _, ms := range []int64{-3, 0, 1, 2, 7, 60_000, 60_001, 1 << 40} {
		h.Observe(ms)
	}
	var sum door.Histogram
	sum.Add(&h)
	var m dto.Metric
	if err := histogram(latency, &sum).Write(&m); err != nil {
		t.Fatal(err)
	}
	cumulative := map[float64]uint64{}
	for _, b := range m.Histogram.Bucket {
		cumulative[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	if cumulative[0.001] != 3 || cumulative[0.002] != 4 || cumulative[0.005] != 4 || cumulative[0.01] != 5 || cumulative[60] != 6 || m.Histogram.GetSampleCount() != 8 {
		t.Errorf("%v of %d", cumulative, m.Histogram.GetSampleCount())
	}
}
