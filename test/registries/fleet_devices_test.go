//go:build servers || long

package registries

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	sdk "github.com/longline/longline/device"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// fleetDevice is a device that calls services, one call after the other, and is called by a backend meanwhile.
type fleetDevice struct {
	id      string
	charger bool
	stop    func()        // makes it leave when its last call has ended
	left    chan struct{} // closed when it has left, and all that it has printed is read

	mu     sync.Mutex
	calls  []fleetCall
	called []int    // the numbers of the calls that it got
	strays []string // answers to nothing
	asked  int      // calls of the backend that it has answered
}

// fleetCall is a call of a device that has ended.
type fleetCall struct {
	N                      int
	Service, Method, Error string
	Answer                 fleetAnswer
}

// fleetAnswer is what a service answers. A device answers with its own name and the number.
type fleetAnswer struct {
	Device, Method, Instance string
	N                        int
}

// progress returns how many calls have ended in each direction.
func (d *fleetDevice) progress() (up, down int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.calls), d.asked
}

// startFleet starts devices of all kinds.
func startFleet(t *testing.T, g *process) (all []*fleetDevice) {
	t.Helper()
	const python, venv = "/usr/bin/python3", "../interop/python/venv/bin/python"
	host, port, err := net.SplitHostPort(g.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	native, chargers := "ws://"+g.devices+"/connect/", "ws://"+g.devices+"/ocpp"
	for id, line := range map[string][]string{
		"node-ws":       {"node", "../interop/node/fleet.js", "ws", native + "node-ws"},
		"node-mqtt-5":   {"node", "../interop/node/fleet.js", "mqtt", "ws://" + g.devices + "/mqtt"},
		"node-ocpp":     {"node", "../interop/node/fleet.js", "ocpp", chargers},
		"python-ws":     {python, "../interop/python/fleet.py", "ws", native + "python-ws"},
		"python-mqtt-4": {python, "../interop/python/fleet.py", "mqtt", g.mqtt},
		"python-ocpp":   {venv, "../interop/python/fleet.py", "ocpp", chargers},
		"c-mqtt-4":      {compiled(t), host, port},
	} {
		d := startScript(t, id, append(line, id))
		d.charger = strings.HasSuffix(id, "ocpp")
		all = append(all, d)
	}
	all = append(all, startGo(t, native, "go-json", sdk.JSON), startGo(t, native, "go-protobuf", sdk.Protobuf))
	for _, d := range all {
		await(t, "the first call of "+d.id, func() bool { up, _ := d.progress(); return up > 0 })
	}
	return all
}

// compiled builds the client in C.
func compiled(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fleet")
	if out, err := exec.Command("cc", "-Wall", "-o", name, "../interop/c/fleet.c", "-lmosquitto").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v: run make deps\n%s", err, out)
	}
	return name
}

func newFleetDevice(id string) *fleetDevice {
	return &fleetDevice{id: id, left: make(chan struct{})}
}

// startScript starts a device that is a process of its own. It leaves when its input ends.
func startScript(t *testing.T, id string, line []string) *fleetDevice {
	t.Helper()
	input, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	d := newFleetDevice(id)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin = input
	lines := startChild(t, cmd)
	d.stop = sync.OnceFunc(func() { _ = ours.Close() })
	go func() {
		defer close(d.left)
		for lines.Scan() {
			d.read(t, lines.Bytes())
		}
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("%s ended with %v", id, err)
		}
	}()
	t.Cleanup(func() {
		d.stop()
		_ = cmd.Process.Kill()
		<-d.left
	})
	return d
}

// read reads a line that a script has printed.
func (d *fleetDevice) read(t *testing.T, line []byte) {
	var p struct {
		fleetCall
		Called int
		Stray  json.RawMessage
	}
	if err := json.Unmarshal(line, &p); err != nil {
		t.Errorf("%s: %q: %v", d.id, line, err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case p.Stray != nil:
		d.strays = append(d.strays, string(p.Stray))
	case p.Called != 0:
		d.called = append(d.called, p.Called)
	default:
		d.calls = append(d.calls, p.fleetCall)
	}
}

// startGo starts a device of the SDK.
func startGo(t *testing.T, native, id string, protocol sdk.Protocol) *fleetDevice {
	t.Helper()
	d := newFleetDevice(id)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	conn, err := sdk.Dial(ctx, native+id, &sdk.Options{Protocol: protocol, Calls: map[string]sdk.CallHandler{
		"count": func(_ context.Context, c sdk.Call) (any, error) {
			var asked struct{ N int }
			err := json.Unmarshal(c.Payload, &asked)
			d.mu.Lock()
			defer d.mu.Unlock()
			d.called = append(d.called, asked.N)
			return map[string]any{"device": id, "n": asked.N}, err
		},
	}})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	leaving := make(chan struct{})
	d.stop = sync.OnceFunc(func() { close(leaving) })
	go func() {
		defer close(d.left)
		methods := [][2]string{{"csms", "count"}, {"billing", "count"}, {"csms", "add"}, {"billing", "add"}}
		for n := 1; ctx.Err() == nil && !closed(leaving); n++ {
			at := methods[n%len(methods)]
			call := fleetCall{N: n, Service: at[0], Method: at[1]}
			reply, err := conn.Call(ctx, at[0], at[1], map[string]int{"n": n})
			if err == nil {
				err = json.Unmarshal(reply.Payload, &call.Answer)
			}
			if err != nil {
				call.Error = err.Error()
			}
			if refused := new(sdk.RefusedError); errors.As(err, &refused) {
				call.Error = refused.Code
			}
			d.mu.Lock()
			d.calls = append(d.calls, call)
			d.mu.Unlock()
			time.Sleep(pace)
		}
		if err := conn.Close(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", id, err)
		}
	}()
	t.Cleanup(func() { cancel(); <-d.left })
	return d
}

// pace is the pause between two calls of a device, or of a backend, so that a fleet does not take the whole machine.
const pace = 20 * time.Millisecond

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// ask is a backend that calls the device, one call after the other, until ending is closed. Every call must be answered by this device.
func (d *fleetDevice) ask(t *testing.T, api longlinev1connect.GatewayClient, ending <-chan struct{}) {
	for n := 1; !closed(ending); n++ {
		method, text := "count", fmt.Sprintf(`{"n":%d}`, n)
		if d.charger {
			method, text = "DataTransfer", fmt.Sprintf(`{"vendorId":"fleet","data":"%d"}`, n)
		}
		r, err := api.Call(t.Context(), connect.NewRequest(&longlinev1.CallRequest{Device: d.id, Method: method, Text: &text, ContentType: sdk.ContentJSON}))
		if err != nil {
			t.Errorf("call %d of %s: %v", n, d.id, err)
			return
		}
		var answer struct {
			fleetAnswer
			Data string
		}
		err = json.Unmarshal([]byte(r.Msg.GetText()), &answer)
		if d.charger && err == nil {
			err = json.Unmarshal([]byte(answer.Data), &answer.fleetAnswer)
		}
		if err != nil || r.Msg.Error != nil || answer.N != n || answer.Device != d.id {
			t.Errorf("call %d of %s: %v, %v", n, d.id, r.Msg, err)
			return
		}
		d.mu.Lock()
		d.asked++
		d.mu.Unlock()
		time.Sleep(pace)
	}
}

// metrics returns the gateway's metrics, by name and labels.
func (g *process) metrics(t *testing.T) map[string]string {
	t.Helper()
	r, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			all[name] = value
		}
	}
	return all
}
