//go:build long

package registries

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/registry/registrytest"
	"github.com/longline/longline/test/servers"
)

// eureka is a Eureka with the application billing, beside instances that nobody may find.
type eureka struct {
	*servers.Server
	set []registry.Instance
}

func (e *eureka) Hosts() (one, two string) { return "10.0.0.1", "10.0.0.2" }

func (e *eureka) Source() registry.Source {
	return registry.Source{Eureka: registry.Eureka{Servers: []string{"http://127.0.0.1:1", e.URL("/eureka/")}, Service: "Billing"}}
}

func (e *eureka) Set(t *testing.T, all []registry.Instance) {
	t.Helper()
	wanted := make(map[string]bool)
	for _, i := range all {
		wanted[hostOf(i)] = true
		e.register(t, hostOf(i), "UP", i.Weight)
	}
	for _, old := range e.set {
		if !wanted[hostOf(old)] {
			send(t, http.MethodDelete, e.URL("/eureka/apps/BILLING/billing-"+hostOf(old)), nil, nil)
		}
	}
	e.set = all
}

// others registers instances that nobody may find.
func (e *eureka) others(t *testing.T) {
	t.Helper()
	e.register(t, "10.0.0.3", "DOWN", 1)
	e.register(t, "10.0.0.4", "OUT_OF_SERVICE", 1)
	e.register(t, "10.0.0.5", "UP", 0)
}

func (e *eureka) register(t *testing.T, host, status string, weight int) {
	t.Helper()
	body := fmt.Sprintf(`{"instance":{"instanceId":"billing-%s","hostName":"%[1]s","app":"BILLING","ipAddr":"%[1]s","status":"%s","vipAddress":"billing",
		"port":{"$":9001,"@enabled":"true"},"securePort":{"$":443,"@enabled":"false"},"metadata":{"weight":"%d"},
		"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},
		"leaseInfo":{"renewalIntervalInSecs":1000,"durationInSecs":3600}}}`, host, status, weight)
	send(t, http.MethodPost, e.URL("/eureka/apps/BILLING"), strings.NewReader(body), http.Header{"Content-Type": {"application/json"}})
}

// killedEureka loses all that it had when it is down.
type killedEureka struct{ *eureka }

func (k killedEureka) Down(t *testing.T) (up func()) {
	k.Kill()
	return func() {
		k.Restart()
		k.others(t)
		k.Set(t, k.set)
	}
}

// stoppedEureka answers nothing when it is down.
type stoppedEureka struct{ *eureka }

func (s stoppedEureka) Down(*testing.T) (up func()) {
	s.Stop()
	return s.Continue
}

func TestEureka(t *testing.T) {
	e := &eureka{Server: servers.Eureka(t)}
	e.others(t)
	t.Run("stopped", func(t *testing.T) { registrytest.Run(t, stoppedEureka{e}, true) })
	t.Run("killed", func(t *testing.T) { registrytest.Run(t, killedEureka{e}, true) })
}
