package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigExampleIsAFileThatChecks(t *testing.T) {
	code, example, stderr := longline(t, "config", "example")
	if code != exitDone || !strings.Contains(example, "\ngateway:") {
		t.Fatalf("exit %d, %q, %q", code, example, stderr)
	}
	file := filepath.Join(t.TempDir(), "longline.yaml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := longline(t, "config", "check", file); code != exitDone || stdout != file+": nothing is wrong\n" {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
}

func TestConfigCheckSaysWhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "longline.yaml")
	if err := os.WriteFile(file, []byte("gateway:\n  heartbeat: soon\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := longline(t, "config", "check", file)
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, file+":2:14: gateway.heartbeat: want a duration") {
		t.Errorf("exit %d, %q, %q", code, stdout, stderr)
	}
}

// longline runs the program with no input.
func longline(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}
