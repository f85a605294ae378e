//go:build long

package registries

import (
	"net/url"
	"strings"
	"testing"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/test/servers"
)

func TestRegisterNacos(t *testing.T) {
	s := servers.Nacos(t)
	runRegister(t, &registering{
		Server:   s,
		register: `nacos: {servers: ["http://127.0.0.1:1", %q], namespace: plant, group: edge, cluster: west}`,
		source:   registry.Source{Nacos: registry.Nacos{Servers: []string{s.URL("")}, Service: "longline", Namespace: "plant", Group: "edge", Clusters: []string{"west"}}},
		id: func(g *process) string {
			_, port, _ := strings.Cut(g.devices, ":")
			return "/nacos/v1/ns/instance?" + url.Values{
				"serviceName": {"longline"}, "namespaceId": {"plant"}, "groupName": {"edge"}, "cluster": {"west"}, "ip": {"127.0.0.1"}, "port": {port},
			}.Encode()
		},
	})
}

func TestRegisterEureka(t *testing.T) {
	s := servers.Eureka(t)
	runRegister(t, &registering{
		Server:   s,
		register: `eureka: {servers: ["http://127.0.0.1:1", %q]}`,
		source:   registry.Source{Eureka: registry.Eureka{Servers: []string{s.URL("")}, Service: "longline"}},
		id:       func(g *process) string { return "/eureka/apps/LONGLINE/" + g.id() },
	})
}
