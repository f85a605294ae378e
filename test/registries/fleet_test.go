//go:build servers || long

package registries

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
	"github.com/longline/longline/test/servers"
)

// catalogConsul finds a service in the catalog of a Consul.
type catalogConsul struct {
	*consul
	service string
}

func (c *catalogConsul) section() string {
	return fmt.Sprintf("consul: {address: %q, service: %s}", c.URL(""), c.service)
}

func (c *catalogConsul) add(t *testing.T, port int) {
	t.Helper()
	c.put(t, "/v1/agent/service/register", map[string]any{"ID": c.instance(port), "Name": c.service, "Address": "127.0.0.1", "Port": port})
}

func (c *catalogConsul) remove(t *testing.T, port int) {
	t.Helper()
	c.put(t, "/v1/agent/service/deregister/"+c.instance(port), nil)
}

func (c *catalogConsul) instance(port int) string { return fmt.Sprintf("%s-%d", c.service, port) }

// catalogDNS finds a service by the SRV records of a Consul.
type catalogDNS struct{ *catalogConsul }

func (c catalogDNS) section() string {
	return fmt.Sprintf("dns: {name: _%s._tcp.service.consul, resolver: %q, refresh: 1s}", c.service, servers.ConsulDNS(c.Server))
}

// TestFleet: billing is found by DNS.
func TestFleet(t *testing.T) {
	c := &consul{Server: servers.Consul(t)}
	runFleet(t, &catalogConsul{c, "csms"}, catalogDNS{&catalogConsul{c, "billing"}})
}

// runFleet has devices of all kinds call two services, while a backend calls them. Of each service an instance dies, its registry forgets it, and another one
// comes. Every call must have its answer.
func runFleet(t *testing.T, csms, billing catalog) {
	services := []*fleetService{
		{catalog: csms, name: "csms", line: []string{"node", "../interop/node/fleet_service.js"}},
		{catalog: billing, name: "billing", line: []string{"/usr/bin/python3", "../interop/python/fleet_service.py"}},
	}
	config := "gateway: {insecure: true}\nocpp: {service: csms}\nservices:\n"
	for _, s := range services {
		s.start(t)
		s.start(t)
		config += fmt.Sprintf("  %s: {%s, choose: round_robin, retry_budget: 100, idempotent: [count, DataTransfer]}\n", s.name, s.section())
	}
	f := &fleet{t: t, services: services, gateway: startGateway(t, config)}
	f.devices = startFleet(t, f.gateway)
	api := longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+f.gateway.admin)
	ending := make(chan struct{})
	var asking sync.WaitGroup
	for _, d := range f.devices {
		asking.Go(func() { d.ask(t, api, ending) })
	}
	end := sync.OnceFunc(func() { close(ending); asking.Wait() })
	t.Cleanup(end)

	const some = 20
	f.more(some)
	for _, s := range services {
		s.instances[0].kill()
	}
	f.more(some) // the registries still name the dead
	after := make(map[string]*atomic.Int64)
	for _, s := range services {
		s.remove(t, s.instances[0].port)
		f.awaitInstances(s, 1)
	}
	f.more(2) // until the calls have ended that knew the dead
	for _, s := range services {
		after[s.instances[0].name] = haunt(t, s.instances[0])
	}
	f.more(some)
	for _, s := range services {
		i := s.start(t)
		f.awaitInstances(s, 2)
		await(t, "the first call of "+i.name, func() bool { return len(i.calls()) > 0 })
	}
	f.more(some)

	end()
	for _, d := range f.devices {
		d.stop()
	}
	for _, d := range f.devices {
		await(t, d.id+" to leave", func() bool { return closed(d.left) })
	}
	f.checkMetrics()
	for _, s := range services {
		for _, i := range s.instances {
			i.kill() // then all is read that it has printed
		}
	}
	f.checkCalls()
	for name, n := range after {
		if n.Load() > 0 {
			t.Errorf("%s got %d calls after its end", name, n.Load())
		}
	}
}

// fleet is what a test of a fleet consists of.
type fleet struct {
	t        *testing.T
	services []*fleetService
	gateway  *process
	devices  []*fleetDevice
}

// more waits until each device has ended n more calls in each direction.
func (f *fleet) more(n int) {
	f.t.Helper()
	type progress struct{ up, down int }
	from := make(map[*fleetDevice]progress)
	for _, d := range f.devices {
		up, down := d.progress()
		from[d] = progress{up, down}
	}
	for d, p := range from {
		await(f.t, "calls of "+d.id, func() bool {
			up, down := d.progress()
			return up >= p.up+n && down >= p.down+n
		})
	}
}

// awaitInstances waits until the gateway knows n instances of a service.
func (f *fleet) awaitInstances(s *fleetService, n int) {
	f.t.Helper()
	await(f.t, "the instances of "+s.name, func() bool {
		return f.gateway.metrics(f.t)[`longline_service_instances{service="`+s.name+`"}`] == strconv.Itoa(n)
	})
}

// checkMetrics compares the gateway's counts with those of the devices.
func (f *fleet) checkMetrics() {
	f.t.Helper()
	want := make(map[string]int)
	for _, d := range f.devices {
		for _, c := range d.calls {
			result, outcome := "ok", "answered"
			if c.Error != "" {
				result, outcome = "failed", "failed"
			}
			want[fmt.Sprintf(`longline_service_calls_total{result=%q,service=%q}`, result, c.Service)]++
			want[fmt.Sprintf(`longline_device_calls_total{outcome=%q}`, outcome)]++
		}
	}
	got := make(map[string]int)
	for name, value := range f.gateway.metrics(f.t) {
		if strings.HasPrefix(name, "longline_service_calls_total{") || strings.HasPrefix(name, "longline_device_calls_total{") {
			if n, err := strconv.Atoi(value); err != nil || n > 0 {
				got[name] = n
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.t.Errorf("the gateway counts %v, the devices %v", got, want)
	}
}

// checkCalls checks each call of each device, and compares them with what the services got. All have ended.
func (f *fleet) checkCalls() {
	f.t.Helper()
	type served struct {
		service string
		servedCall
	}
	got := make(map[served][]string) // the instances that got a call
	for _, s := range f.services {
		for _, i := range s.instances {
			for _, c := range i.calls() {
				at := served{s.name, c}
				got[at] = append(got[at], i.name)
			}
		}
	}
	failed, twice := make(map[string]int), make(map[string]int) // by service
	for _, d := range f.devices {
		for n, c := range d.calls {
			at := served{c.Service, servedCall{d.id, c.Method, c.N}}
			a, instances := c.Answer, got[at]
			delete(got, at)
			switch {
			case c.N != n+1:
				f.t.Errorf("%s: call %d ended where call %d should", d.id, c.N, n+1)
			case c.Error == "failed" && c.Method == "add":
				failed[c.Service]++ // the service may have done it
			case c.Error != "":
				f.t.Errorf("%+v: %s", at, c.Error)
			case a.Device != d.id || a.N != c.N || a.Method != c.Method || !slices.Contains(instances, a.Instance):
				f.t.Errorf("%+v: the answer is %+v; got by %v", at, a, instances)
			}
			if len(instances) > 1 {
				twice[c.Service]++
				if c.Method == "add" {
					f.t.Errorf("%+v was done by %v", at, instances)
				}
			}
		}
		slices.Sort(d.called)
		for n, called := range d.called {
			if called != n+1 {
				f.t.Errorf("%s got call %d where %d should be", d.id, called, n+1)
				break
			}
		}
		if len(d.called) != d.asked || len(d.strays) > 0 {
			f.t.Errorf("%s got %d calls, %d were answered; answers to nothing: %v", d.id, len(d.called), d.asked, d.strays)
		}
	}
	if len(got) > 0 {
		f.t.Errorf("calls that no device made: %v", got)
	}
	for _, s := range f.services {
		// A connection that is cut has one call, and each device makes one at a time.
		if failed[s.name] > len(f.devices) || twice[s.name] > len(f.devices) {
			f.t.Errorf("%s: %d calls failed, %d were done twice", s.name, failed[s.name], twice[s.name])
		}
	}
}
