package gateway

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/gateway/door"
)

// Every metric that docs/operating.md names exists, and every one of the limits is named there.
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
	for _, label := range door.RefusalLabels {
		if !strings.Contains(string(text), `reason="`+label+`"`) {
			t.Errorf("the reason %s is not explained", label)
		}
	}
}

// declaredMetrics are those of the node, by name.
func declaredMetrics(t *testing.T) (all []string) {
	t.Helper()
	for _, file := range []string{"metrics.go", "limits_metrics.go", "../../cmd/longline/node.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?:describe\("|"longline_)([a-z_]+)"`).FindAllSubmatch(source, -1) {
			all = append(all, string(m[1]))
		}
	}
	return all
}
