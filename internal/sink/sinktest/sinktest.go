// Package sinktest is the contract of all targets of sinks: a pump pushes messages to a server through a proxy, while the server is killed,
// connections are cut, and the pump is closed and started again. At the end the server has to have every message, in the order of its device.
package sinktest

import (
	"testing"
	"time"

	"github.com/longline/longline/internal/sink/pump"
)

// Server is a system behind, and the target that writes to it.
type Server struct {
	// Start starts the server, or starts it again with the data that it had, and returns its address when it takes connections. Clients
	// reach it through the proxy: a server that tells clients its address tells this one. t is that of the whole run. Start is nil if there is no
	// server: then nothing is killed or cut.
	Start func(t testing.TB, proxy string) (address string)

	// Kill ends the server, as kill -9 does, and returns when it has ended. If it is nil, the server is not killed.
	Kill func(t testing.TB)

	// Open opens the target as its package's Open does. It connects to the proxy and writes to where: a topic, a table, a file; letters and digits, a
	// new one for each test. Its timeouts should be short, about a second.
	Open func(t testing.TB, proxy, where string, o pump.Options) pump.Target

	// Read returns the payloads of all that was written to where, in the server's order. The server runs; the proxy is not for it.
	Read func(t testing.TB, where string) [][]byte

	// Once says that nothing is written twice, whatever happens. Others may write twice what was not confirmed.
	Once bool

	// Bad is a payload that the target or the server refuses. If there is none, that is not tried.
	Bad []byte

	// Config is how the pump pushes. Zero fields have defaults for tests: small batches and short pauses.
	Config pump.Config
}

// How much the forms of the contract do.
type form struct {
	messages int           // of one test
	rounds   int           // of trouble within a test
	kills    int           // of the server; some take long to start again
	pause    time.Duration // between messages of all devices, in groups of 10
}

// Run runs the short form of the contract, about 10 s and a start of the server.
func Run(t *testing.T, s Server) {
	run(t, s, form{messages: 600, rounds: 2, kills: 1, pause: 10 * time.Millisecond})
}

// RunLong runs the long form.
func RunLong(t *testing.T, s Server) {
	run(t, s, form{messages: 30_000, rounds: 15, kills: 15, pause: 10 * time.Millisecond})
}

func run(t *testing.T, s Server, f form) {
	w := &world{t: t, server: s, form: f, proxy: NewProxy(t)}
	if s.Start != nil {
		w.proxy.To(s.Start(t, w.proxy.Address()))
	}
	for _, test := range []struct {
		name   string
		test   func(*testing.T, *world)
		needed bool
	}{
		{"everything arrives", everythingArrives, true},
		{"the gateway restarts", gatewayRestarts, true},
		{"connections are cut", connectionsAreCut, s.Start != nil},
		{"silence", silence, s.Start != nil},
		{"the server is killed", serverIsKilled, s.Kill != nil},
		{"a bad message", badMessage, s.Bad != nil},
	} {
		if test.needed {
			t.Run(test.name, func(t *testing.T) { test.test(t, w) })
		}
	}
}
