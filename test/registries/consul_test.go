//go:build servers || long

package registries

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/registry/registrytest"
	"github.com/longline/longline/test/servers"
)

// consul is a Consul whose agent has the service billing. Each instance has a check, beside instances that do not pass theirs.
type consul struct {
	*servers.Server
	set []registry.Instance
}

func (c *consul) Hosts() (one, two string) { return "10.0.0.1", "10.0.0.2" }

func (c *consul) Source() registry.Source {
	return registry.Source{Consul: registry.Consul{Address: c.URL(""), Service: "billing", Tags: []string{"blue", "eu"}}}
}

func (c *consul) Set(t *testing.T, all []registry.Instance) {
	t.Helper()
	wanted := make(map[string]bool)
	for _, i := range all {
		wanted[c.register(t, i, "passing", "eu", "blue", "new")] = true
	}
	for _, old := range c.set {
		if id := idOf(old); !wanted[id] {
			c.put(t, "/v1/agent/service/deregister/"+id, nil)
		}
	}
	c.set = all
}

// others registers instances that nobody may find.
func (c *consul) others(t *testing.T) {
	t.Helper()
	c.register(t, registry.Instance{URL: "http://10.0.0.3:9001"}, "critical", "eu", "blue")
	c.register(t, registry.Instance{URL: "http://10.0.0.4:9001"}, "warning", "eu", "blue")
	c.register(t, registry.Instance{URL: "http://10.0.0.5:9001"}, "passing", "eu", "green")
}

func idOf(i registry.Instance) string { return "billing-" + hostOf(i) }

func hostOf(i registry.Instance) string {
	return strings.TrimSuffix(strings.TrimPrefix(i.URL, "http://"), ":9001")
}

// register registers an instance and returns its ID.
func (c *consul) register(t *testing.T, i registry.Instance, status string, tags ...string) (id string) {
	t.Helper()
	c.put(t, "/v1/agent/service/register?replace-existing-checks=true", map[string]any{
		"ID": idOf(i), "Name": "billing", "Address": hostOf(i), "Port": 9001, "Tags": tags,
		"Weights": map[string]int{"Passing": max(1, i.Weight), "Warning": 1},
		"Check":   map[string]string{"TTL": "1h", "Status": status},
	})
	return idOf(i)
}

func (c *consul) put(t *testing.T, path string, body any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	put(t, c.URL(path), text, nil)
}

// put sends a body, which must be taken.
func put(t *testing.T, to string, body []byte, header http.Header) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, to, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	for key, values := range header {
		request.Header[key] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		answer, _ := io.ReadAll(response.Body)
		t.Fatal(fmt.Errorf("%s: %d %s", to, response.StatusCode, answer))
	}
}

// killed is a Consul that loses all that it had when it is down: its index goes backwards.
type killed struct{ *consul }

func (k killed) Down(t *testing.T) (up func()) {
	k.Kill()
	return func() {
		k.Restart()
		k.others(t)
		k.Set(t, k.set)
	}
}

// stopped is a Consul that answers nothing when it is down.
type stopped struct{ *consul }

func (s stopped) Down(*testing.T) (up func()) {
	s.Stop()
	return s.Continue
}

func TestConsul(t *testing.T) {
	c := &consul{Server: servers.Consul(t)}
	c.others(t)
	t.Run("killed", func(t *testing.T) { registrytest.Run(t, killed{c}, true) })
	t.Run("stopped", func(t *testing.T) { registrytest.Run(t, stopped{c}, true) })
}
