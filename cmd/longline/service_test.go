package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Operators see the services of a gateway, which instances are called, and which are left out.
func TestServices(t *testing.T) {
	well := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer well.Close()
	sick := httptest.NewServer(http.NotFoundHandler())
	defer sick.Close()
	cmd := exec.Command(os.Args[0], "serve", "--insecure", "--set", "log.format=json", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
		"--set", "services.billing={instances: [\""+well.URL+"\", \""+sick.URL+"\"], probe: {path: /, every: 100ms}}", "--set", "services.grid.serve=true")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	p := start(t, cmd, 0)
	p.eventually("/metrics", `longline_service_instance_left_out{instance="`+sick.URL+`",service="billing"} 1`,
		`longline_service_instance_left_out{instance="`+well.URL+`",service="billing"} 0`, `longline_service_instances{service="billing"} 2`,
		`longline_service_calls_total{result="ok",service="grid"} 0`, `longline_service_breaker_state{service="billing",state="closed"} 1`,
		`longline_service_call_duration_seconds_bucket{service="billing",le="0.0025"} 0`, `longline_service_registry_failing{service="billing"} 0`)
	var nodes bytes.Buffer
	if code := Run(t.Context(), []string{"nodes", "--server", p.admin}, nil, &nodes, io.Discard); code != 0 || !strings.Contains(nodes.String(), "up     0        0%") {
		t.Errorf("nodes: exit code %d\n%s", code, nodes.String())
	}
	var out bytes.Buffer
	if code := Run(t.Context(), []string{"service", "ls", "--server", p.admin}, nil, &out, io.Discard); code != 0 {
		t.Fatal(code)
	}
	for _, want := range [][]string{
		{"billing", "0", "0", "0"},
		{"billing", well.URL, "0", "0", "0", "called"},
		{"billing", sick.URL, "0", "0", "0", "left out: it fails its probe"},
		{"grid", "0", "0", "0", "answered through the API"},
	} {
		found := false
		for line := range strings.Lines(out.String()) {
			found = found || strings.Join(strings.Fields(line), " ") == strings.Join(want, " ")
		}
		if !found {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}
