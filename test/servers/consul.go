package servers

import (
	"strconv"
	"testing"
)

// dnsDistance is that of the DNS port from the first.
const dnsDistance = 4

// Consul starts a Consul of one server, which keeps nothing when it is restarted. It answers DNS at ConsulDNS.
func Consul(t testing.TB, options ...string) *Server {
	t.Helper()
	return Start(t, Program{
		Name:  "consul",
		Ports: []int{0, 1, 2, 3, dnsDistance},
		Command: func(installed string, port int) []string {
			at := func(distance int) string { return strconv.Itoa(port + distance) }
			return append([]string{
				installed + "/usr/bin/consul", "agent", "-dev", "-log-level=warn", "-bind=127.0.0.1", "-client=127.0.0.1",
				"-http-port=" + at(0), "-server-port=" + at(1), "-serf-lan-port=" + at(2), "-serf-wan-port=" + at(3),
				"-dns-port=" + at(dnsDistance), "-grpc-port=-1",
			}, options...)
		},
		Ready: Answers("/v1/status/leader", ":"),
	})
}

// ConsulDNS returns host and port at which a Consul answers DNS.
func ConsulDNS(s *Server) string { return s.at(dnsDistance) }
