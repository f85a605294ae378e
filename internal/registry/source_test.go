package registry_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/setting"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSource(t *testing.T) {
	type source = registry.Source
	good := []string{"http://10.0.0.5:9000"}
	for want, s := range map[string]source{
		"instances: nothing says where they are: want options of one of instances, dns, consul, nacos, eureka, kubernetes": {},
		"dns: want one source of instances, not instances, dns":                                                            {Instances: good, DNS: registry.DNS{Scheme: "http"}},
		`instances: want a URL such as http://10.0.0.5:9000, not "10.0.0.5:9000"`:                                          {Instances: []string{"10.0.0.5:9000"}},
		"instances: want a URL such as http://10.0.0.5:9000, not \"ftp://10.0.0.5\"":                                       {Instances: []string{"ftp://10.0.0.5"}},
		"instances: http://x:xxxxx@h: a URL of an instance has no user":                                                    {Instances: []string{"http://x:secret@h"}},
		"instances: http://10.0.0.5:9000 is listed twice":                                                                  {Instances: []string{good[0], good[0]}},
		"dns.name: billing.internal has no port":                                                                           {DNS: registry.DNS{Name: "billing.internal"}},
		"dns.name: it is missing":                                                                                          {DNS: registry.DNS{Scheme: "http"}},
		"dns.scheme: want http or https":                                                                                   {DNS: registry.DNS{Name: "_http._tcp.x", Scheme: "ftp"}},
		"dns.resolver: want an address and a port":                                                                         {DNS: registry.DNS{Name: "_http._tcp.x", Resolver: "10.0.0.1"}},
		"consul.service: it is missing":                                                                                    {Consul: registry.Consul{Address: "http://a"}},
		"consul.address: want a URL":                                                                                       {Consul: registry.Consul{Service: "s", Address: "file:///a"}},
		"consul.scheme: want http or https, not \"gopher\"":                                                                {Consul: registry.Consul{Service: "s", Scheme: "gopher"}},
		"consul.tls.cert: want both":                                                                                       {Consul: registry.Consul{Service: "s", TLS: setting.TLS{Key: "k"}}},
	} {
		if err := s.WithDefaults().Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
		if _, err := registry.Open(s, nil); err == nil {
			t.Errorf("%+v is opened", s)
		}
	}
	for _, s := range []source{{Instances: good}, {DNS: registry.DNS{Name: "billing.internal:9000"}}, {DNS: registry.DNS{Name: "_http._tcp.billing.internal"}}, {Consul: registry.Consul{Service: "s"}}} {
		if err := s.WithDefaults().Validate(); err != nil || !s.Given() {
			t.Error(err)
		}
	}
}
