// Package interop runs devices in several languages, and popular MQTT clients,
// against one gateway, the program as users run it.
package interop

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"testing"
)

// broker is the broker of the MQTT scenarios: the gateway, or the one that the flags name.
var broker struct{ tcp, ws string } // host:port

func init() {
	flag.StringVar(&broker.tcp, "broker", "", "play the scenarios of MQTT on another broker, at this `host:port`")
	flag.StringVar(&broker.ws, "broker-ws", "", "its `host:port` of MQTT over WebSocket")
}

var (
	program string  // the gateway's
	gateway *server // the gateway of all tests, except those that need a configuration
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

// run starts the gateway, runs the tests, and stops the gateway.
func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "longline-interop")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if program, err = build(dir); err != nil {
		return 1, err
	}
	billing := newBilling()
	defer billing.Close()
	if gateway, err = serve(program, dir, "services: {billing: {instances: [\""+billing.URL+"\"]}}\n"); err != nil {
		return 1, err
	}
	broker.tcp, broker.ws = cmp.Or(broker.tcp, gateway.mqtt), cmp.Or(broker.ws, gateway.devices)
	code := m.Run()
	return code, gateway.stop()
}
