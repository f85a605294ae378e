package ocpp

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected lines of testdata again")

// lines calls check with each line of a file that has a frame, and with the lines that are expected behind it. check returns those
// that come.
func lines(t testing.TB, path string, check func(version Version, frame string) []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for paragraph := range strings.SplitSeq(strings.TrimRight(string(text), "\n"), "\n\n") {
		for line := range strings.SplitSeq(paragraph, "\n") {
			if strings.HasPrefix(line, "#") {
				out = append(out, line)
				continue
			}
			if strings.HasPrefix(line, "= ") {
				continue
			}
			name, frame, _ := strings.Cut(line, " ")
			out = append(out, line)
			for _, v := range Versions() {
				if v.Subprotocol() == "ocpp"+name {
					for _, came := range check(v, frame) {
						out = append(out, strings.TrimRight("= "+came, " "))
					}
				}
			}
		}
		out = append(out, "")
	}
	got := strings.Join(out, "\n")
	if _, fuzzing := t.(*testing.F); fuzzing {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != string(text) {
		t.Errorf("%s: got\n%s", path, got)
	}
}

// testdata/frames.txt has frames of each version and, behind =, what is read of them.
func TestFrames(t *testing.T) {
	lines(t, "testdata/frames.txt", func(v Version, message string) []string {
		var f Frame
		if err := v.Decode(&f, []byte(message)); err != nil {
			return []string{err.Error()}
		}
		id := f.ID
		if f.Bare {
			id += " (a number)"
		}
		switch f.Type {
		case Call, Send:
			return []string{fmt.Sprintf("type %d id %s action %s payload %s", f.Type, id, f.Action, f.Payload)}
		case CallResult:
			return []string{fmt.Sprintf("type %d id %s payload %s", f.Type, id, f.Payload)}
		}
		return []string{fmt.Sprintf("type %d id %s code %q description %q details %s", f.Type, id, f.Code, f.Description, f.Details)}
	})
}

// testdata/refused.txt has messages that are no frames and, behind =, what their senders are told.
func TestRefused(t *testing.T) {
	lines(t, "testdata/refused.txt", func(v Version, message string) []string {
		var f Frame
		var refused *Error
		if !errors.As(v.Decode(&f, []byte(message)), &refused) {
			return []string{"a frame"}
		}
		if !v.Answerable(&f, refused) {
			return []string{"nothing, for " + refused.Error()}
		}
		answer := v.Refuse(&f, refused.Code, refused.Reason)
		return []string{string(answer.Append(nil))}
	})
}

func TestCodes(t *testing.T) {
	for c := range Code(len(names)) {
		for _, v := range Versions() {
			got, ok := ParseCode(v.Name(c))
			if !ok || got != c && v.Name(got) != v.Name(c) {
				t.Errorf("%s: %q is read as %d", v.Subprotocol(), v.Name(c), got)
			}
		}
	}
	for name, want := range map[string]Code{
		"not_implemented": NotImplemented, "OccurenceConstraintViolation": OccurrenceViolation,
		"FormatViolation": FormatViolation, "formation_violation": FormatViolation, "rpc_framework_error": FrameworkError,
	} {
		if got, ok := ParseCode(name); !ok || got != want {
			t.Errorf("%q is read as %d, %t", name, got, ok)
		}
	}
	if _, ok := ParseCode("unavailable"); ok {
		t.Error("unavailable is no code")
	}
}

func TestLongDescription(t *testing.T) {
	f := Frame{Type: Call, ID: "1"}
	r := V16.Refuse(&f, GenericError, strings.Repeat("é", 200)+"\xff")
	if n := len(r.Description); n != MaxDescription-1 || strings.Trim(r.Description, "é") != "" {
		t.Errorf("%d bytes: %q", n, r.Description)
	}
}
