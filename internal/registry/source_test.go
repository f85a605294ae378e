package registry_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSource(t *testing.T) {
	type source = registry.Source
	good := []string{"http://10.0.0.5:9000"}
	for want, s := range map[string]source{
		"instances: nothing says where they are: want one of instances, dns":         {},
		"dns: want one source of instances, not instances, dns":                      {Instances: good, DNS: registry.DNS{Scheme: "http"}},
		`instances: "10.0.0.5:9000" is no URL`:                                       {Instances: []string{"10.0.0.5:9000"}},
		"instances: want a URL such as http://10.0.0.5:9000, not \"ftp://10.0.0.5\"": {Instances: []string{"ftp://10.0.0.5"}},
		"instances: http://x:xxxxx@h: a URL of an instance has no user":              {Instances: []string{"http://x:secret@h"}},
		"instances: http://10.0.0.5:9000 is listed twice":                            {Instances: []string{good[0], good[0]}},
		"dns.name: billing.internal has no port":                                     {DNS: registry.DNS{Name: "billing.internal"}},
		"dns.name: it is missing":                                                    {DNS: registry.DNS{Scheme: "http"}},
		"dns.scheme: want http or https":                                             {DNS: registry.DNS{Name: "_http._tcp.x", Scheme: "ftp"}},
		"dns.resolver: want an address and a port":                                   {DNS: registry.DNS{Name: "_http._tcp.x", Resolver: "10.0.0.1"}},
	} {
		if err := s.WithDefaults().Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", s, err, want)
		}
		if _, err := registry.Open(s, nil); err == nil {
			t.Errorf("%+v is opened", s)
		}
	}
	for _, s := range []source{{Instances: good}, {DNS: registry.DNS{Name: "billing.internal:9000"}}, {DNS: registry.DNS{Name: "_http._tcp.billing.internal"}}} {
		if err := s.WithDefaults().Validate(); err != nil || !s.Given() {
			t.Error(err)
		}
	}
}
