//go:build long

package registries

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/registry/registrytest"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/test/servers"
)

// cluster is a Kubernetes whose API server has the service billing: a slice for each instance, beside slices of others.
type cluster struct {
	*servers.Cluster
	client *http.Client
}

func (c *cluster) Hosts() (one, two string) { return "10.0.0.1", "10.0.0.2" }

func (c *cluster) Source() registry.Source {
	return registry.Source{Kubernetes: registry.Kubernetes{
		Address: c.URL(""), Service: "billing", Port: "http", Token: setting.NewSecret(c.Token), TLS: setting.TLS{CA: c.CA()},
	}}
}

const slicesPath = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

func (c *cluster) Set(t *testing.T, all []registry.Instance) {
	t.Helper()
	wanted := make(map[string]bool)
	for _, i := range all {
		wanted[hostOf(i)] = true
	}
	one, two := c.Hosts()
	for _, host := range []string{one, two} {
		c.put(t, "billing", host, wanted[host])
	}
}

// put makes a slice of a service have one pod. A pod that is not ready stands for one that is not there.
func (c *cluster) put(t *testing.T, service, host string, ready bool) {
	t.Helper()
	name := service + "-" + host
	body := map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata":  map[string]any{"name": name, "labels": map[string]string{"kubernetes.io/service-name": service}},
		"endpoints": []any{map[string]any{"addresses": []string{host}, "conditions": map[string]bool{"ready": ready, "serving": ready}}},
		"ports":     []any{map[string]any{"name": "http", "port": 9001}, map[string]any{"name": "admin", "port": 9002}},
	}
	if status := c.do(t, http.MethodPut, slicesPath+"/"+name, body); status == http.StatusNotFound {
		c.do(t, http.MethodPost, slicesPath, body)
	}
}

// do sends a request and returns the status: one of 2xx, or 404.
func (c *cluster) do(t *testing.T, method, path string, body any) int {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, c.URL(path), bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	request.Header.Set("Authorization", "Bearer "+c.Token)
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, _ := io.ReadAll(response.Body); response.StatusCode >= 300 && response.StatusCode != http.StatusNotFound {
		t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, answer)
	}
	return response.StatusCode
}

// killedCluster is a Kubernetes whose API server is away when it is down.
type killedCluster struct{ *cluster }

func (k killedCluster) Down(*testing.T) (up func()) {
	k.Kill()
	return k.Restart
}

// stoppedCluster is a Kubernetes whose API server answers nothing when it is down.
type stoppedCluster struct{ *cluster }

func (s stoppedCluster) Down(*testing.T) (up func()) {
	s.Stop()
	return s.Continue
}

func TestKubernetes(t *testing.T) {
	c := &cluster{
		Cluster: servers.Kubernetes(t),
		client:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, //nolint:gosec // a test's
	}
	c.put(t, "other", "10.0.0.9", true)
	t.Run("killed", func(t *testing.T) { registrytest.Run(t, killedCluster{c}, false) })
	t.Run("stopped", func(t *testing.T) { registrytest.Run(t, stoppedCluster{c}, false) })
}
