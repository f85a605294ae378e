package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestServeInAFewLines has scripts without a package or an HTTP server answer the calls of a device.
func TestServeInAFewLines(t *testing.T) {
	g, err := serve(program, t.TempDir(), "services: {sums-python: {serve: true, timeout: 1m}, sums-node: {serve: true, timeout: 1m}, clock: {serve: true, timeout: 1m}}\n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	for service, script := range map[string][]string{
		"sums-python": {"/usr/bin/python3", "python/service.py"},
		"sums-node":   {"node", "node/service.js"},
		"clock":       {"bash/service.sh"},
	} {
		cmd := childProcess(ctx, append(script, "http://"+g.admin+"/v1/services/"+service))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		})
	}
	ws, _, err := websocket.Dial(ctx, target(g.devices, "meter-7"), &websocket.DialOptions{Subprotocols: []string{"longline.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	next := func() (p struct {
		Op      string
		ID      int
		Payload json.RawMessage
		Error   struct{ Code, Reason string }
	}) {
		_, text, err := ws.Read(ctx)
		if err == nil {
			err = json.Unmarshal(text, &p)
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := next(); p.Op != "hello" {
		t.Fatalf("%+v", p)
	}
	id := 0
	call := func(service, method, payload string) (string, json.RawMessage) {
		t.Helper()
		id++
		packet := fmt.Appendf(nil, `{"op":"call","id":%d,"service":%q,"method":%q,"payload":%s}`, id, service, method, payload)
		if err := ws.Write(ctx, websocket.MessageText, packet); err != nil {
			t.Fatal(err)
		}
		p := next()
		if p.Op != "reply" || p.ID != id {
			t.Fatalf("%+v", p)
		}
		return p.Error.Code, p.Payload
	}
	for _, service := range []string{"sums-python", "sums-node"} {
		for n := range 3 { // the script may begin to serve after the first call
			if code, sum := call(service, "add", fmt.Sprintf("[1, 2, %d]", n)); code != "" || string(sum) != fmt.Sprint(3+n) {
				t.Errorf("%s: %q, %s", service, code, sum)
			}
		}
		if code, _ := call(service, "multiply", "[1]"); code != "unknown_method" {
			t.Errorf("%s: an unknown method: %q", service, code)
		}
	}
	code, text := call("clock", "now", "null")
	var at struct{ Now int64 }
	if err := json.Unmarshal(text, &at); err != nil || code != "" || time.Since(time.Unix(at.Now, 0)).Abs() > 10*time.Minute {
		t.Errorf("clock: %q, %s, %v", code, text, err)
	}
}
