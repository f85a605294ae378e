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

// config check finds what serve would fail on, also in the files that the configuration names.
func TestConfigCheckLooksAtFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	bad := write("bad", "nonsense")
	for text, want := range map[string]string{
		"services: {a: {instances: [\"https://a\"], tls: {ca: " + bad + "}}}":                                                  "longline.yaml:1:52: services.a.tls.ca",
		"models: {a: {instances: [\"http://a\"], inputs: {x: {fields: [payload]}}, output: {set: b}, tls: {ca: " + bad + "}}}": "models.a.tls.ca",
		"gateway: {tls: {cert: " + bad + ", key: " + bad + "}}":                                                                "gateway.tls.cert",
		"auth: {order: [tokens], tokens: {file: " + dir + "/none}}":                                                            "longline.yaml:1:40: auth.tokens.file",
		"auth: {order: [tokens], tokens: {file: " + bad + "}}":                                                                 "line 1",
		"api: {tokens: " + bad + "}":                                                                                           "api.tokens",
		"api: {audit: " + dir + "/none/audit.log}":                                                                             "api.audit",
		"api: {audit: " + dir + "}":                                                                                            "is a directory",
		"api: {audit: " + dir + "/audit.log}":                                                                                  "",
		"api: {audit: " + bad + "}":                                                                                            "",
	} {
		var out, errs strings.Builder
		code := Run(t.Context(), []string{"config", "check", write("longline.yaml", text)}, nil, &out, &errs)
		if want == "" && code != 0 || want != "" && (code == 0 || !strings.Contains(errs.String(), want)) {
			t.Errorf("%s: code %d, %s", text, code, errs.String())
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"version"}, "longline ", 0},
		{[]string{"help"}, "Commands:", 0},
		{[]string{"help", "serve"}, "--insecure", 0},
	} {
		var out, errs strings.Builder
		if code := Run(t.Context(), tt.args, nil, &out, &errs); code != tt.code || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%v: code %d, %q, %s", tt.args, code, out.String(), errs.String())
		}
	}
}
