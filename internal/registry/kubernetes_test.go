package registry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

func (a *apiServer) config() Kubernetes {
	return Kubernetes{Address: a.URL, Namespace: "fleet", Service: "billing", Token: setting.NewSecret("sesame")}
}

// foundBy returns the URLs that d finds, sorted, or the error.
func foundBy(t *testing.T, d Discovery) string {
	t.Helper()
	all, err := d.Find(t.Context())
	if err != nil {
		return err.Error()
	}
	var urls []string
	for _, i := range all {
		urls = append(urls, strings.TrimPrefix(i.URL, "http://"))
	}
	slices.Sort(urls)
	return strings.Join(urls, " ")
}

// A watch begins where the list ended and goes on at the last event; what changes nothing is not told; a version that is too old lists again.
func TestKubernetesWatch(t *testing.T) {
	a := newAPIServer(t)
	a.set("a", spec(80, "10.0.0.1"))
	d := openSource(t, Source{Kubernetes: a.config()})
	want := func(what, want string, version string) {
		t.Helper()
		if got := foundBy(t, d); got != want {
			t.Errorf("%s: found %q, want %q", what, got, want)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if q := a.asked[len(a.asked)-1].URL.Query(); q.Get("resourceVersion") != version || (version != "") != (q.Get("timeoutSeconds") == "50") {
			t.Errorf("%s: asked %v, want the version %q", what, q, version)
		}
	}
	want("the list", "10.0.0.1:80", "")
	a.set("b", spec(80, "10.0.0.2"))
	want("a new slice", "10.0.0.1:80 10.0.0.2:80", "101")
	a.set("b", spec(80, "10.0.0.2"))
	a.set("a", spec(81, "10.0.0.1"))
	want("a change, behind one that is none", "10.0.0.1:81 10.0.0.2:80", "102")
	a.set("c", "")
	a.set("a", "")
	want("a slice removed, behind one that was not there", "10.0.0.2:80", "104")
	a.forget()
	a.set("b", spec(80, "10.0.0.3"))
	want("changes forgotten", "10.0.0.3:80", "")
	a.beDown(true)
	if got := foundBy(t, d); !strings.Contains(got, "EOF") {
		t.Errorf("while it is down: %s", got)
	}
	a.beDown(false)
	want("it is back", "10.0.0.3:80", "")
	d.(*kubernetes).listed = time.Now().Add(-relist)
	want("the list is old", "10.0.0.3:80", "")
}

func TestKubernetesConditions(t *testing.T) {
	pod := func(host, conditions string) string {
		return fmt.Sprintf(`{"addresses":[%q,"10.9.9.9"],"conditions":{%s}}`, host, conditions)
	}
	ready, notReady := pod("10.0.0.1", `"ready":true`), pod("10.0.0.2", `"ready":false`)
	ends, dead := pod("10.0.0.3", `"ready":false,"serving":true,"terminating":true`), pod("10.0.0.4", `"ready":false,"serving":false,"terminating":true`)
	unsaid := pod("10.0.0.5", "")
	const http, two = `[{"name":"http","port":80}]`, `[{"name":"http","port":80},{"name":"admin","port":81,"protocol":"TCP"},{"name":"dns","port":53,"protocol":"UDP"}]`
	slice := func(family, ports string, pods ...string) string {
		return fmt.Sprintf(`"addressType":%q,"ports":%s,"endpoints":[%s]`, family, ports, strings.Join(pods, ","))
	}
	for _, c := range []struct {
		what   string
		port   string
		slices []string
		want   string
	}{
		{"no slices", "", nil, ""},
		{"ready ones", "", []string{slice("IPv4", http, ready, notReady, ends, dead, unsaid)}, "10.0.0.1:80 10.0.0.5:80"},
		{"none ready", "", []string{slice("IPv4", http, notReady, ends, dead)}, "10.0.0.3:80"},
		{"none at all", "", []string{slice("IPv4", http, notReady, dead, `{"addresses":[]}`)}, ""},
		{"two families", "", []string{slice("IPv6", http, pod("fd00::1", "")), slice("IPv4", http, ready)}, "10.0.0.1:80"},
		{"IPv6", "", []string{slice("IPv6", http, pod("fd00::1", ""))}, "[fd00::1]:80"},
		{"IPv6 is ready, IPv4 ends", "", []string{slice("IPv6", http, pod("fd00::1", "")), slice("IPv4", http, ends)}, "[fd00::1]:80"},
		{"names", "", []string{slice("FQDN", http, pod("a.example.org", ""))}, "a.example.org:80"},
		{"a port by name", "admin", []string{slice("IPv4", two, ready)}, "10.0.0.1:81"},
		{"a port by number", "80", []string{slice("IPv4", two, ready)}, "10.0.0.1:80"},
		{"no choice of a port", "", []string{slice("IPv4", two, ready)}, `the pods have several ports, so the option port must name one of "http (80), admin (81)"`},
		{"a port that is not there", "grpc", []string{slice("IPv4", two, ready)}, `the pods have no TCP port "grpc", but "http (80), admin (81)"`},
		{"a port of UDP", "dns", []string{slice("IPv4", two, ready)}, `the pods have no TCP port "dns", but "http (80), admin (81)"`},
		{"a port that some have", "admin", []string{slice("IPv4", two, ready), slice("IPv4", http, unsaid)}, "10.0.0.1:81"},
		{"no ports, no pods", "", []string{slice("IPv4", "null"), slice("IPv4", http, ready)}, "10.0.0.1:80"},
	} {
		a := newAPIServer(t)
		for i, s := range c.slices {
			a.set(fmt.Sprint("s", i), s)
		}
		config := a.config()
		config.Port = c.port
		if got := foundBy(t, openSource(t, Source{Kubernetes: config})); got != c.want {
			t.Errorf("%s: found %q, want %q", c.what, got, c.want)
		}
	}
}

func TestKubernetesBadAnswers(t *testing.T) {
	list := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[]}`)
	}
	for what, answer := range badAnswers {
		a := answering(t, answer)
		d := openSource(t, Source{Kubernetes: Kubernetes{Address: a.URL, Service: "billing"}})
		if all, err := d.Find(t.Context()); err == nil {
			t.Errorf("%s: found %v", what, all)
		}
		if what == "nothing" {
			continue // a watch without an event
		}
		a = answering(t, list, answer, list)
		d = openSource(t, Source{Kubernetes: Kubernetes{Address: a.URL, Service: "billing"}})
		for _, ok := range []bool{true, false, true} { // it is listed again after a watch that fails
			if all, err := d.Find(t.Context()); (err == nil) != ok {
				t.Errorf("%s as a watch: found %v, %v", what, all, err)
			}
		}
		if q := a.last().URL.Query(); q.Get("watch") != "" {
			t.Errorf("%s: asked %v after a watch that failed", what, q)
		}
	}
	for what, events := range map[string]string{
		"another type": `{"type":"HELLO"}`,
		"no version":   `{"type":"ADDED","object":{"metadata":{"name":"a"}}}`,
		"an error":     `{"type":"ERROR","object":{"code":500,"message":"no"}}`,
		"half":         `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1"}}}{"type":`,
		"large":        `{"type":"` + strings.Repeat("x", maxAnswer+1<<16),
	} {
		if err := (&endpoints{slices: make(map[string]slice)}).follow(strings.NewReader(events)); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// Events that change nothing, without an end, do not keep a watch busy; slices without an end are not kept.
func TestKubernetesEndlessEvents(t *testing.T) {
	e := &endpoints{slices: make(map[string]slice)}
	bookmark := `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}`
	r := strings.NewReader(strings.Repeat(bookmark, 100*maxEvents))
	if err := e.follow(r); err != nil || r.Len() < 98*maxEvents*len(bookmark) {
		t.Errorf("%v, %d bytes left", err, r.Len())
	}
	var err error
	n := 0
	for ; err == nil && n <= maxEndpoints; n++ {
		err = e.follow(strings.NewReader(fmt.Sprintf(`{"type":"ADDED","object":{"metadata":{"name":"s%d","resourceVersion":"7"}}}`, n)))
	}
	if err == nil {
		t.Errorf("%d slices are kept", n)
	}
}

// In a pod all that is needed comes from the service account; a token that has changed is used.
func TestKubernetesInCluster(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"},%s}]}`,
			spec(80, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")+strings.Split(r.URL.Path, "/")[5]))
	}))
	s.StartTLS()
	defer s.Close()
	serviceAccount = t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(serviceAccount, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca, err := os.ReadFile(writeCA(t, s))
	if err != nil {
		t.Fatal(err)
	}
	source := Source{Kubernetes: Kubernetes{Service: "billing"}}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := Open(source, nil); err == nil || !strings.HasPrefix(err.Error(), "kubernetes.address: it is missing") {
		t.Errorf("outside of a pod: %v", err)
	}
	host, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	t.Setenv("KUBERNETES_SERVICE_HOST", host)
	t.Setenv("KUBERNETES_SERVICE_PORT", port)
	w := new(reload.Watcher)
	if _, err := Open(source, w); err == nil || !strings.HasPrefix(err.Error(), "kubernetes.namespace: ") {
		t.Errorf("without files: %v", err)
	}
	write("namespace", "fleet\n")
	write("ca.crt", string(ca))
	write("token", "one\n")
	d, err := Open(source, w)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := foundBy(t, d); got != "onefleet:80" {
		t.Errorf("found %s", got)
	}
	write("token", "second\n")
	w.Look()
	d.(*kubernetes).known = nil
	if got := foundBy(t, d); got != "secondfleet:80" {
		t.Errorf("with another token: found %s", got)
	}
}

func FuzzSlices(f *testing.F) {
	f.Add([]byte(`{"kind":"EndpointSliceList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"a"},` + spec(80, "10.0.0.1") + `}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := parseSlices(body, "")
		if err != nil {
			return
		}
		all, err := e.instances("http")
		checkSound(t, all[:min(len(all), maxInstances)], err)
	})
}

// Events that come in pieces do what they do at once.
func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"5"},`+spec(80, "10.0.0.1")+`}}`), 7)
	f.Add([]byte(`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"6"}}}`+"\n"+`{"type":"DELETED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}`), 1)
	f.Add([]byte(`{"type":"ERROR","object":{"code":410}}`), 1)
	f.Fuzz(func(t *testing.T, events []byte, piece int) {
		apply := func(r io.Reader) (*endpoints, error) {
			e := &endpoints{slices: make(map[string]slice)}
			if err := e.follow(r); err != nil {
				return nil, err
			}
			all, err := e.instances("http")
			checkSound(t, all[:min(len(all), maxInstances)], err)
			return e, nil
		}
		whole, err := apply(strings.NewReader(string(events)))
		parts, partsErr := apply(&pieces{events, 1 + piece&0xff})
		if !reflect.DeepEqual(whole, parts) || (err == nil) != (partsErr == nil) {
			t.Fatalf("at once %+v, %v; in pieces %+v, %v", whole, err, parts, partsErr)
		}
	})
}

// pieces reads bytes in pieces.
type pieces struct {
	left []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.size, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}
