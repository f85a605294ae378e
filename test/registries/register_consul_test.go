//go:build servers

package registries

import (
	"testing"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/test/servers"
)

func TestRegisterConsul(t *testing.T) {
	s := servers.Consul(t)
	runRegister(t, &registering{
		Server:   s,
		register: `consul: {address: %q, tags: [edge]}`,
		source:   registry.Source{Consul: registry.Consul{Address: s.URL(""), Service: "longline", Tags: []string{"edge"}}},
		id:       func(g *process) string { return "/v1/agent/service/" + g.id() },
	})
}
