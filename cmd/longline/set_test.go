package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Flags override the environment, and the environment overrides the file.
func TestConfigPrint(t *testing.T) {
	t.Setenv("LONGLINE_GATEWAY__HEARTBEAT", "11s")
	t.Setenv("LONGLINE_GATEWAY__LOOPS", "2")
	t.Setenv("HOOK_SECRET", "sesame")
	var out, errs bytes.Buffer
	args := "config print --set gateway.loops=3 --set gateway.raw_protocols=[ocpp1.6,ocpp2.0.1] --set auth.webhook.secret_env=HOOK_SECRET --admin 127.0.0.1:1"
	if code := Run(t.Context(), strings.Fields(args), nil, &out, &errs); code != exitDone {
		t.Fatalf("code %d: %s", code, &errs)
	}
	for _, want := range []string{"  heartbeat: 11s\n", "  loops: 3\n", `  raw_protocols: ["ocpp1.6", "ocpp2.0.1"]` + "\n", "    secret: \"\" # (secret)\n", `  address: "127.0.0.1:1"` + "\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "sesame") {
		t.Error("the secret is shown")
	}
	for args, want := range map[string]string{
		"config print --set gateway.loops":   "longline: --set gateway.loops: want KEY=VALUE",
		"config print --set gateway.lops=1":  `longline: --set: gateway: unknown key "lops"`,
		"config print --set log.level=shout": "longline: log.level: want debug",
	} {
		errs.Reset()
		if code := Run(t.Context(), strings.Fields(args), nil, &out, &errs); code != exitFailed || !strings.HasPrefix(errs.String(), want) {
			t.Errorf("%s: code %d, %s", args, code, &errs)
		}
	}
}

// What a file needs may come from the flags, the environment, and --set.
func TestFileNeedsWhatTheFlagsSay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "longline.yaml")
	if err := os.WriteFile(file, []byte("streams: {news: {filters: [\"news/#\"]}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"--data d", "--set store.path=d"} {
		var out, errs bytes.Buffer
		if code := Run(t.Context(), strings.Fields("config print --config "+file+" "+args), nil, &out, &errs); code != exitDone || !strings.Contains(out.String(), "  path: d\n") {
			t.Errorf("%s: code %d, %s%s", args, code, &errs, &out)
		}
	}
	var out, errs bytes.Buffer
	if code := Run(t.Context(), strings.Fields("config print --config "+file), nil, &out, &errs); code != exitFailed || !strings.Contains(errs.String(), "need store.path") {
		t.Errorf("code %d, %s", code, &errs)
	}
}
