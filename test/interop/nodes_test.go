package interop

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdk "github.com/longline/longline/device"
)

// startNodes starts n gateways. Those that a test has not stopped are stopped at its end.
func startNodes(t *testing.T, n int) []*server {
	t.Helper()
	all := make([]*server, n)
	for i := range all {
		g, err := serve(program, t.TempDir(), fmt.Sprintf("node: {number: %d}\n", i+1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.cancel)
		all[i] = g
	}
	return all
}

// settle waits until d is connected to one of these gateways.
func settle(t *testing.T, d *sdk.Device, among ...*server) *server {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, g := range among {
			if s := d.State(); s.Phase == sdk.Connected && s.URL == "ws://"+g.devices+"/connect" {
				return g
			}
		}
	}
	t.Fatalf("the device is %+v", d.State())
	return nil
}

// A node that ends in order asks its devices to go, one that is killed does not: either way the device connects to another one.
func TestDeviceGoesToAnotherNode(t *testing.T) {
	for name, end := range map[string]func(g *server) error{
		"drained": (*server).stop,
		"killed":  func(g *server) error { return g.cmd.Process.Kill() },
	} {
		for _, from := range []string{"addresses", "list"} {
			t.Run(name+" "+from, func(t *testing.T) {
				nodes := startNodes(t, 2)
				o := &sdk.Options{ID: "meter-7", Choose: sdk.RoundRobin, Reconnect: sdk.Reconnect{Min: 10 * time.Millisecond, Max: time.Second, MaxTries: -1}}
				url := "ws://" + nodes[0].devices
				if from == "list" {
					list := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						_, _ = fmt.Fprintf(w, `{"nodes":[{"url":"ws://%s","weight":50},{"url":"ws://%s","weight":50}]}`, nodes[0].devices, nodes[1].devices)
					}))
					defer list.Close()
					url = list.URL + "/v1/nodes"
				} else {
					o.URLs = []string{"ws://" + nodes[1].devices}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				d, err := sdk.Dial(ctx, url, o)
				if err != nil {
					t.Fatal(err)
				}
				first := settle(t, d, nodes...)
				if err := end(first); err != nil {
					t.Error(err)
				}
				other := nodes[0]
				if first == other {
					other = nodes[1]
				}
				settle(t, d, other)
				if err := d.Publish(ctx, sdk.Message{Topic: "reading", QoS: sdk.AtLeastOnce}); err != nil {
					t.Error(err)
				}
				if err := d.Close(ctx); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A gateway that keeps no list says so, and is the only node.
func TestNodeWithoutAList(t *testing.T) {
	d, err := sdk.Dial(t.Context(), "http://"+gateway.devices+"/v1/nodes", &sdk.Options{ID: "alone-1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.State().URL; !strings.HasSuffix(got, gateway.devices+"/connect") {
		t.Errorf("connected to %s", got)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
