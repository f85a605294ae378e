package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longline/longline/internal/fleet"
)

// The program says in one line what is wrong with a command line, and ends with an exit code of its own.
func TestFleetErrors(t *testing.T) {
	csv := filepath.Join(t.TempDir(), "a.csv")
	if err := os.WriteFile(csv, []byte("id,t\na,soon\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"fleet --rate x", `--rate: expected a float but got "x"`, exitUsage},
		{"fleet replay a.csv", "missing flags: --time-column=NAME", exitUsage},
		{"fleet replay a.csv --id-column id --time-column t --speed fast", `"fast": want a number, or max`, exitUsage},
		{"fleet --protocol mqtt", `protocol "mqtt": want json or protobuf`, exitFailed},
		{"fleet --devices=-5", "-5 devices: want 1 to", exitFailed},
		{"fleet --gateway wss://127.0.0.1 --ca " + csv, csv + " holds no certificate", exitFailed},
		{"fleet --ca " + csv, "is for a gateway of wss://", exitFailed},
		{"fleet replay " + csv + " --id-column id --time-column t", csv + `:2:3: "soon" is no time`, exitFailed},
	} {
		var out, errs bytes.Buffer
		code := Run(t.Context(), strings.Fields(tt.args), nil, &out, &errs)
		if code != tt.code || !strings.Contains(errs.String(), tt.want) || strings.Count(errs.String(), "\n") != 1 || out.Len() > 0 {
			t.Errorf("%s: code %d, %q, %q; want %d, %s", tt.args, code, out.String(), errs.String(), tt.code, tt.want)
		}
	}
}

// A fleet that failed still prints its report.
func TestFleetReport(t *testing.T) {
	var out, errs bytes.Buffer
	args := "fleet --devices 2 --gateway ws://127.0.0.1:1 --retries 1 --retry-min 1ms --json -q"
	if code := Run(t.Context(), strings.Fields(args), nil, &out, &errs); code != exitFailed {
		t.Errorf("code %d, want %d", code, exitFailed)
	}
	var report fleet.Report
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Devices != 2 || report.GaveUp != 2 {
		t.Errorf("%v, %s", err, &out)
	}
	if want := "longline: every device gave up: connect: connection refused\n"; errs.String() != want {
		t.Errorf("%q, want %q", errs.String(), want)
	}
}

func TestHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if code := Run(t.Context(), []string{"fleet", "--help"}, nil, &out, &errs); code != exitDone || !strings.Contains(out.String(), "fleet replay") {
		t.Errorf("code %d, %q, %q", code, out.String(), errs.String())
	}
}
