//go:build long

package registries

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/longline/longline/test/servers"
)

// catalogNacos finds a service in a Nacos.
type catalogNacos struct {
	*servers.Server
	service string
}

func (n *catalogNacos) section() string {
	return fmt.Sprintf("nacos: {servers: [%q], service: %s, refresh: 1s}", n.URL(""), n.service)
}

func (n *catalogNacos) add(t *testing.T, port int) { n.send(t, http.MethodPost, port) }

func (n *catalogNacos) remove(t *testing.T, port int) { n.send(t, http.MethodDelete, port) }

func (n *catalogNacos) send(t *testing.T, method string, port int) {
	t.Helper()
	q := url.Values{
		"serviceName": {n.service}, "ip": {"127.0.0.1"}, "port": {strconv.Itoa(port)},
		"metadata": {`{"preserved.heart.beat.timeout":"3600000","preserved.ip.delete.timeout":"3600000"}`},
	}
	send(t, method, n.URL("/nacos/v1/ns/instance?"+q.Encode()), nil, nil)
}

// TestFleetNacos: billing is found in a Nacos.
func TestFleetNacos(t *testing.T) {
	c := &consul{Server: servers.Consul(t)}
	runFleet(t, &catalogConsul{c, "csms"}, &catalogNacos{servers.Nacos(t), "billing"})
}
