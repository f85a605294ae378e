package registry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// apiServer speaks as much of Kubernetes' protocol as a Discovery needs: it lists EndpointSlices, and sends changes since a version
// until it has forgotten them.
type apiServer struct {
	*httptest.Server

	mu      sync.Mutex
	slices  map[string]string // as JSON, by name
	events  []string
	version int           // of the last event
	oldest  int           // version from which on events are there
	changed chan struct{} // closed at the next change
	down    bool
	asked   []*http.Request
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	a := &apiServer{slices: make(map[string]string), changed: make(chan struct{}), version: 100, oldest: 100}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.CloseClientConnections)
	t.Cleanup(func() { a.Close() })
	return a
}

// set makes a slice what it is to be. Without a spec it is removed.
func (a *apiServer) set(name, spec string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	kind := "MODIFIED"
	if a.slices[name] == "" {
		kind = "ADDED"
	}
	a.version++
	object := fmt.Sprintf(`{"metadata":{"name":%q,"resourceVersion":"%d"},%s}`, name, a.version, spec)
	if spec == "" {
		kind, object = "DELETED", fmt.Sprintf(`{"metadata":{"name":%q,"resourceVersion":"%d"}}`, name, a.version)
		delete(a.slices, name)
	} else {
		a.slices[name] = object
	}
	a.events = append(a.events, fmt.Sprintf(`{"type":%q,"object":%s}`, kind, object))
	a.wake()
}

// forget makes all versions too old for a watch.
func (a *apiServer) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	a.oldest, a.events = a.version, nil
}

func (a *apiServer) beDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
	a.wake()
}

// wake wakes the watches. a is locked.
func (a *apiServer) wake() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked = append(a.asked, r)
	down := a.down
	a.mu.Unlock()
	q := r.URL.Query()
	switch {
	case down:
		panic(http.ErrAbortHandler)
	case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/fleet/endpointslices" || q.Get("labelSelector") != "kubernetes.io/service-name=billing":
		http.NotFound(w, r)
	case r.Header.Get("Authorization") != "Bearer sesame":
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	case q.Get("watch") == "":
		a.list(w)
	default:
		a.watch(w, r)
	}
}

func (a *apiServer) list(w io.Writer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var items []string
	for _, s := range a.slices {
		items = append(items, s)
	}
	fmt.Fprintf(w, `{"kind":"EndpointSliceList","metadata":{"resourceVersion":"%d"},"items":[%s]}`, a.version, strings.Join(items, ","))
}

func (a *apiServer) watch(w http.ResponseWriter, r *http.Request) {
	at, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	for {
		a.mu.Lock()
		if a.down {
			a.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		if at < a.oldest {
			fmt.Fprint(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (198)","reason":"Expired","code":410}}`)
			a.mu.Unlock()
			return
		}
		for _, e := range a.events[at-a.oldest:] {
			fmt.Fprintln(w, e)
		}
		at = a.version
		fmt.Fprintf(w, `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"%d"}}}`, at)
		changed := a.changed
		a.mu.Unlock()
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// spec returns the JSON of a slice with pods that are ready, and one port.
func spec(port int, hosts ...string) string {
	var e []string
	for _, h := range hosts {
		e = append(e, `{"addresses":["`+h+`"],"conditions":{"ready":true,"serving":true,"terminating":false}}`)
	}
	return fmt.Sprintf(`"addressType":"IPv4","endpoints":[%s],"ports":[{"name":"http","port":%d,"protocol":"TCP"}]`, strings.Join(e, ","), port)
}
