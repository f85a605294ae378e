package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/config"
)

// Every load runs, in a small size, on a gateway in this process.
func TestBench(t *testing.T) {
	var c config.Config
	c.Gateway.Listen, c.Gateway.Insecure, c.API.Address = "127.0.0.1:0", true, "127.0.0.1:0"
	n, err := startNode(t.Context(), c, slog.New(slog.DiscardHandler), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	common := " --devices 40 -q --json --gateway " + n.gateway.Addr().String() + " --pid " + strconv.Itoa(os.Getpid())
	admin := " --admin http://" + n.server.Addr().String()
	for _, tt := range []struct {
		args  string
		field string
		least float64
	}{
		{"connect", "connected", 40},
		{"idle --duration 50ms", "gateway memory", 1},
		{"uplink --duration 200ms --warmup 10ms --rate 500", "acknowledged", 20},
		{"soak --duration 200ms --warmup 10ms --rate 500", "acknowledged", 20},
		{"fanout --rounds 3" + admin, "delivered", 120},
		{"command --duration 200ms --rate 100" + admin, "answered", 20},
		{"storm --dials 40", "back", 40},
	} {
		t.Run(strings.Fields(tt.args)[0], func(t *testing.T) {
			svg := filepath.Join(t.TempDir(), "a.svg")
			var out, errs bytes.Buffer
			if code := Run(t.Context(), strings.Fields("bench "+tt.args+common+" --svg "+svg), nil, &out, &errs); code != exitDone || errs.Len() > 0 {
				t.Fatalf("code %d, %s", code, &errs)
			}
			var r bench.Report
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if v := field(&r, tt.field); v < tt.least {
				t.Errorf("%s is %v, want %v at least: %+v", tt.field, v, tt.least, r)
			}
			if b, err := os.ReadFile(svg); err != nil || !bytes.Contains(b, []byte(r.Title)) {
				t.Errorf("%v, %s", err, b)
			}
		})
	}
}

func field(r *bench.Report, name string) float64 {
	for _, f := range r.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return -1
}

func TestBenchErrors(t *testing.T) {
	for args, want := range map[string]string{
		"bench connect --gateway 127.0.0.1:1":                        "connection refused",
		"bench connect --gateway nonsense":                           "gateway: ",
		"bench connect --devices 0":                                  "0 connections",
		"bench idle --pid 99999999":                                  "process 99999999",
		"bench storm --gateway 127.0.0.1:1 --devices 3 --dials 1 -q": "connection refused",
	} {
		var out, errs bytes.Buffer
		if code := Run(t.Context(), strings.Fields(args), nil, &out, &errs); code != exitFailed || !strings.Contains(errs.String(), want) || out.Len() > 0 {
			t.Errorf("%s: code %d, %q, %q", args, code, &out, &errs)
		}
	}
}

func TestBenchFormats(t *testing.T) {
	file := filepath.Join(t.TempDir(), "air.csv")
	if err := os.WriteFile(file, []byte("station;time;PM2.5\nA;2016-01-01 00:00:00;1,5\nB;2016-01-01 00:00:00;NA\nC;2016-01-01 00:00:00;2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		"--decimal-comma ": ": 3 messages", "--decimal-comma --messages 2 ": ": 2 messages", "--decimal-comma --json ": `"messages": 3`,
	} {
		var out, errs bytes.Buffer
		if code := Run(t.Context(), strings.Fields("bench formats "+args+file), nil, &out, &errs); code != exitDone || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), "protobuf") {
			t.Errorf("%s: code %d, %s, %s", args, code, &out, &errs)
		}
	}
	for text, want := range map[string]string{"": "is empty", "a,b\n": "has no rows", "a,b\n1\n": ":2:1: the row has 1 values, want 2"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		if code := Run(t.Context(), []string{"bench", "formats", file}, nil, &out, &errs); code != exitFailed || !strings.Contains(errs.String(), want) {
			t.Errorf("%q: code %d, %s", text, code, &errs)
		}
	}
}
