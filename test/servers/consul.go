package servers

import (
	"strconv"
	"testing"
)

// Consul starts a Consul of one server, which keeps nothing when it is restarted.
func Consul(t testing.TB, options ...string) *Server {
	t.Helper()
	return Start(t, Program{
		Name:  "consul",
		Ports: []int{0, 1, 2, 3},
		Command: func(installed string, port int) []string {
			at := func(distance int) string { return strconv.Itoa(port + distance) }
			return append([]string{
				installed + "/usr/bin/consul", "agent", "-dev", "-log-level=warn", "-bind=127.0.0.1", "-client=127.0.0.1",
				"-http-port=" + at(0), "-server-port=" + at(1), "-serf-lan-port=" + at(2), "-serf-wan-port=" + at(3),
				"-dns-port=-1", "-grpc-port=-1",
			}, options...)
		},
		Ready: Answers("/v1/status/leader", ":"),
	})
}
