//go:build long

package registries

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/registry/registrytest"
	"github.com/longline/longline/test/servers"
)

// nacos is a Nacos with the service billing in a namespace, a group and a cluster of its own, beside instances that nobody may find.
type nacos struct {
	*servers.Server
	set []registry.Instance
}

func (n *nacos) Hosts() (one, two string) { return "10.0.0.1", "10.0.0.2" }

func (n *nacos) Source() registry.Source {
	return registry.Source{Nacos: registry.Nacos{
		Servers: []string{"http://127.0.0.1:1", n.URL("")}, Service: "billing", Namespace: "plant", Group: "grid", Clusters: []string{"east", "west"},
	}}
}

func (n *nacos) Set(t *testing.T, all []registry.Instance) {
	t.Helper()
	wanted := make(map[string]bool)
	for _, i := range all {
		wanted[hostOf(i)] = true
		n.call(t, http.MethodPost, hostOf(i), "weight", strconv.Itoa(i.Weight))
	}
	for _, old := range n.set {
		if !wanted[hostOf(old)] {
			n.call(t, http.MethodDelete, hostOf(old))
		}
	}
	n.set = all
}

// others registers instances that nobody may find.
func (n *nacos) others(t *testing.T) {
	t.Helper()
	n.call(t, http.MethodPost, "10.0.0.3", "enabled", "false")
	n.call(t, http.MethodPost, "10.0.0.4", "healthy", "false")
	n.call(t, http.MethodPost, "10.0.0.5", "weight", "0")
	n.call(t, http.MethodPost, "10.0.0.6", "clusterName", "north")
	n.call(t, http.MethodPost, "10.0.0.7", "groupName", "other")
	n.call(t, http.MethodPost, "10.0.0.8", "namespaceId", "")
}

// call registers an instance, or removes it, with options as pairs.
func (n *nacos) call(t *testing.T, method, host string, options ...string) {
	t.Helper()
	q := url.Values{
		"serviceName": {"billing"}, "namespaceId": {"plant"}, "groupName": {"grid"}, "clusterName": {"west"}, "ip": {host}, "port": {"9001"},
		"metadata": {`{"preserved.heart.beat.timeout":"3600000","preserved.ip.delete.timeout":"3600000"}`},
	}
	for ; len(options) > 0; options = options[2:] {
		q.Set(options[0], options[1])
	}
	send(t, method, n.URL("/nacos/v1/ns/instance?"+q.Encode()), nil, nil)
}

// send sends a request, which must be taken, and returns the answer.
func send(t *testing.T, method, to string, body io.Reader, header http.Header) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, to, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	for key, values := range header {
		r.Header[key] = values
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s, %v", method, to, answer.StatusCode, text, err)
	}
	return string(text)
}

// killedNacos loses all that it had when it is down.
type killedNacos struct{ *nacos }

func (k killedNacos) Down(t *testing.T) (up func()) {
	k.Kill()
	return func() {
		k.Restart()
		k.others(t)
		k.Set(t, k.set)
	}
}

// stoppedNacos answers nothing when it is down.
type stoppedNacos struct{ *nacos }

func (s stoppedNacos) Down(*testing.T) (up func()) {
	s.Stop()
	return s.Continue
}

func TestNacos(t *testing.T) {
	n := &nacos{Server: servers.Nacos(t)}
	n.others(t)
	t.Run("stopped", func(t *testing.T) { registrytest.Run(t, stoppedNacos{n}, true) })
	t.Run("killed", func(t *testing.T) { registrytest.Run(t, killedNacos{n}, true) })
}
