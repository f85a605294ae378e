package ocpp

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/wire/ocpp"
)

// docs/ocpp.md says which CALLERROR a refusal becomes.
func TestDocumentedCodes(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/ocpp.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "| code of the refusal | CALLERROR |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	named := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*) \\| (\\w+)(?: in 1.6, else (\\w+))? \\|$").FindAllStringSubmatch(table, -1) {
		old, now := row[2], row[3]
		if now == "" {
			now = old
		}
		for _, code := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[1], -1) {
			named[code[1]] = true
			c := codeOf(code[1])
			if ocpp.V16.Name(c) != old || ocpp.V21.Name(c) != now {
				t.Errorf("%s becomes %s and %s, the table says %s and %s", code[1], ocpp.V16.Name(c), ocpp.V21.Name(c), old, now)
			}
		}
	}
	for _, code := range []string{service.UnknownService, service.UnknownMethod, service.NotAllowed, service.Busy, service.Unavailable,
		service.Timeout, service.Failed, service.TooLarge, service.InvalidAnswer} {
		if !named[code] {
			t.Errorf("the table has no %s", code)
		}
	}
}

func TestActions(t *testing.T) {
	for name, want := range map[string]bool{
		"BootNotification": true, "x_1-y": true, "": false, "a/b": false, "+": false, "a.b": false, "é": false, strings.Repeat("a", 65): false,
	} {
		if isAction(name) != want {
			t.Errorf("%q", name)
		}
	}
}
