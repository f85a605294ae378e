package gateway

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/router"
)

// docs/operating.md names every metric of the node and every reason of a refusal or a drop, and no other metric.
func TestOperatingNamesTheMetrics(t *testing.T) {
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	declared := declaredMetrics(t)
	for _, name := range regexp.MustCompile(`longline_[a-z_]+`).FindAllString(string(text), -1) {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "longline_"), "_bucket")
		if !slices.Contains(declared, name) {
			t.Errorf("there is no metric %s", name)
		}
	}
	for _, name := range declared {
		if !strings.Contains(string(text), "`longline_"+name) {
			t.Errorf("the metric %s is not named", name)
		}
	}
	new(router.Drops).Each(func(label string, _ uint64) {
		if !strings.Contains(string(text), `"`+label+`"`) && !strings.Contains(string(text), "`"+label+"`") {
			t.Errorf("the reason %s of a drop is not explained", label)
		}
	})
	for _, label := range door.RefusalLabels {
		if !strings.Contains(string(text), `reason="`+label+`"`) {
			t.Errorf("the reason %s is not explained", label)
		}
	}
}

// declaredMetrics returns the names of the node's metrics, without their prefix.
func declaredMetrics(t *testing.T) (all []string) {
	t.Helper()
	programs, err := filepath.Glob("../../cmd/longline/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(programs, "metrics.go", "limits_metrics.go") {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(describe\(|serviceDesc\(|ofStream\(\S+ |ofConsumer\(\S+ |ofSink\(\S+ |ofSource\(\S+ |modelDesc\(|sharedGauge\(|sharedCounter\(|NewDesc\(|Name: +|gauge\(|counter\(|add\(\S+ )"(longline_)?([a-z_]+)"`).FindAllSubmatch(source, -1) {
			prefix, suffix := "", ""
			if strings.HasSuffix(string(m[3]), "_") { // the beginning of names that are found elsewhere
				continue
			}
			switch kind, _, _ := strings.Cut(string(m[1]), "("); kind {
			case "ofStream":
				prefix = "stream_"
			case "ofConsumer":
				prefix = "stream_consumer_"
			case "ofSink":
				prefix = "sink_"
			case "ofSource":
				prefix = "source_"
			case "modelDesc":
				prefix = "model_"
			case "serviceDesc":
				prefix = "service_"
			case "sharedGauge":
				prefix = "cluster_store_"
			case "sharedCounter":
				prefix, suffix = "cluster_store_", "_total"
			case "describe":
			default:
				if len(m[2]) == 0 {
					continue // something else's name
				}
			}
			all = append(all, prefix+string(m[3])+suffix)
		}
	}
	source, err := os.ReadFile("../cluster/stats.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?:gauge|count)\("([a-z_]+)"`).FindAllSubmatch(source, -1) {
		all = append(all, "cluster_"+string(m[1]))
	}
	return all
}
