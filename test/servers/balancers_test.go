//go:build servers

package servers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// Each balancer hands a connection on to the server behind it.
func TestBalancers(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "behind") }))
	defer behind.Close()
	to := behind.Listener.Addr().(interface{ AddrPort() netip.AddrPort }).AddrPort()
	for name, start := range map[string]func() *Server{
		"haproxy": func() *Server {
			return HAProxy(t, func(port int) string {
				return fmt.Sprintf("defaults\n mode tcp\n timeout connect 2s\n timeout client 1m\n timeout server 1m\n"+
					"listen l\n bind 127.0.0.1:%d\n server s %s\n", port, to)
			})
		},
		"nginx": func() *Server {
			return Nginx(t, func(port int) string {
				return fmt.Sprintf("events {} stream { server { listen 127.0.0.1:%d; proxy_pass %s; } }", port, to)
			})
		},
		"envoy": func() *Server {
			return Envoy(t, func(port int) string {
				return fmt.Sprintf(`
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains: [{filters: [{name: t, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}}]}]
  clusters:
  - name: c
    type: STATIC
    load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %d}}}}]}]}
`, port, to.Addr(), to.Port())
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Answers("/", "behind")(t.Context(), start().Port); err != nil {
				t.Error(err)
			}
		})
	}
}
