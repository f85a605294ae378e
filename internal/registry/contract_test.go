package registry_test

import (
	"strings"
	"testing"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/registry/registrytest"
)

// pods is a Kubernetes in this process, with a slice for each instance.
type pods struct{ *registry.APIServer }

func (p pods) Hosts() (one, two string) { return "10.0.0.1", "10.0.0.2" }

func (p pods) Source() registry.Source { return registry.Source{Kubernetes: p.Config()} }

func (p pods) Set(_ *testing.T, all []registry.Instance) {
	wanted := make(map[string]bool)
	for _, i := range all {
		host := strings.TrimSuffix(strings.TrimPrefix(i.URL, "http://"), ":9001")
		wanted[host] = true
		p.Put(host, registry.Spec(9001, host))
	}
	one, two := p.Hosts()
	for _, host := range []string{one, two} {
		if !wanted[host] {
			p.Put(host, "")
		}
	}
}

func (p pods) Down(*testing.T) (up func()) {
	p.BeDown(true)
	return func() { p.BeDown(false) }
}

func TestKubernetesContract(t *testing.T) {
	p := pods{registry.NewAPIServer(t)}
	registrytest.Run(t, p, false)
}
