package setting

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
)

// No way of printing shows a secret, wherever it is.
func TestSecretIsNotShown(t *testing.T) {
	s := NewSecret("sesame")
	type holder struct {
		Open   Secret
		hidden Secret
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "s", s, "h", holder{s, s}, "p", &s)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "s", s, "h", holder{s, s}, "p", &s)
	shown := log.String()
	for _, v := range []any{s, &s, holder{s, s}, &holder{s, s}, []Secret{s}, map[string]Secret{"a": s}, struct{ h any }{s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
			shown += fmt.Sprintf(verb, v)
		}
		text, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		shown += string(text)
	}
	for _, leak := range []string{"sesame", fmt.Sprintf("%x", "sesame"), fmt.Sprint([]byte("sesame"))} {
		if strings.Contains(shown, leak) {
			t.Errorf("%s is in %s", leak, shown)
		}
	}
	if text, _ := json.Marshal(struct{ A, B, C Secret }{A: s, B: SecretFile("f")}); string(text) != `{"A":"(secret)","B":"(secret in f)","C":""}` {
		t.Errorf("%s", text)
	}
}

// Follow reads the file again; an invalid content leaves the previous secret in use.
func TestSecretInFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "secret")
	write := func(text string, second int64) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Unix(second, 0), time.Unix(second, 0)); err != nil {
			t.Fatal(err)
		}
	}
	short := func(secret []byte) error {
		if len(secret) < 3 {
			return fmt.Errorf("too short")
		}
		return nil
	}
	var w reload.Watcher
	if _, err := SecretFile(name).Follow(&w, nil); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
	write(" one\n", 1)
	reveal, err := SecretFile(name).Follow(&w, short)
	if err != nil || string(reveal()) != "one" {
		t.Fatalf("%v, %q", err, reveal())
	}
	for i, text := range []string{"two", "x"} {
		write(text, int64(i)+2)
		if w.Look(); string(reveal()) != "two" {
			t.Errorf("after %q: %q", text, reveal())
		}
	}
	if _, err := NewSecret("x").Follow(&w, short); err == nil {
		t.Error("a short secret is taken")
	}
}
