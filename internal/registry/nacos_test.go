package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/longline/longline/internal/setting"
)

const nacosHost = `{"ip":"10.0.0.1","port":9001,"weight":%v,"healthy":%v,"enabled":%v,"metadata":{"url":"wss://a.test","n":1,"x":null}}`

// Only instances that are healthy, enabled and have a weight count, and weights keep their proportions.
func TestNacosInstances(t *testing.T) {
	host := func(ip string, weight float64, healthy, enabled bool) string {
		return strings.Replace(fmt.Sprintf(nacosHost, weight, healthy, enabled), "10.0.0.1", ip, 1)
	}
	for _, tt := range []struct {
		hosts []string
		want  []Instance
	}{
		{nil, nil},
		{[]string{host("10.0.0.1", 1, true, true), host("10.0.0.2", 7, true, true)}, []Instance{{"http://10.0.0.1:9001", 1}, {"http://10.0.0.2:9001", 7}}},
		{[]string{host("10.0.0.1", 0.5, true, true), host("::1", 2, true, true)}, []Instance{{"http://10.0.0.1:9001", 50}, {"http://[::1]:9001", 200}}},
		{[]string{host("10.0.0.1", 1e300, true, true)}, []Instance{{"http://10.0.0.1:9001", maxWeight}}},
		{[]string{host("10.0.0.1", 1, false, true), host("10.0.0.2", 1, true, false), host("10.0.0.3", 0, true, true)}, nil},
	} {
		all, err := parseNacos([]byte(`{"hosts":[`+strings.Join(tt.hosts, ",")+`]}`), "http")
		if got := instances(all, false); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v", tt.hosts, got, err)
		}
	}
	all, err := parseNacos([]byte(`{"hosts":[`+host("10.0.0.1", 3, true, true)+`]}`), "http")
	if got := instances(all, true); err != nil || !slices.Equal(got, []Instance{{"https://a.test", 3}}) {
		t.Errorf("gateways: %v, %v", got, err)
	}
}

// fakeNacos is a Nacos that wants a token, which it gives to the user ops with the password sesame.
type fakeNacos struct {
	*httptest.Server
	mu     sync.Mutex
	logins int
	token  string
	ttl    int
	lists  []url.Values
}

func newFakeNacos(t *testing.T) *fakeNacos {
	f := &fakeNacos{ttl: 3600}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeNacos) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.URL.Path == "/nacos/v1/auth/login" && r.Method == http.MethodPost && r.PostFormValue("username") == "ops" && r.PostFormValue("password") == "sesame":
		f.logins++
		f.token = "token" + strconv.Itoa(f.logins)
		_ = json.NewEncoder(w).Encode(map[string]any{"accessToken": f.token, "tokenTtl": f.ttl})
	case r.Header.Get("Authorization") != "Bearer "+f.token || r.URL.RawQuery != "" && strings.Contains(r.URL.RawQuery, "sesame"):
		http.Error(w, "unknown user!", http.StatusForbidden)
	default:
		f.lists = append(f.lists, r.URL.Query())
		_, _ = io.WriteString(w, `{"hosts":[`+fmt.Sprintf(nacosHost, 1, true, true)+`]}`)
	}
}

// A token is used as long as it holds. One that Nacos does not know any more, and one that is about to expire, are replaced.
func TestNacosLogin(t *testing.T) {
	f := newFakeNacos(t)
	c := Nacos{Servers: []string{f.URL}, Service: "billing", Namespace: "n1", Group: "g", Clusters: []string{"a", "b"}, User: "ops", Password: setting.NewSecret("sesame")}
	d := openSource(t, Source{Nacos: c})
	find := func(wantLogins int) {
		t.Helper()
		if all, err := d.Find(t.Context()); err != nil || len(all) != 1 || f.logins != wantLogins {
			t.Errorf("found %v, %v after %d logins", all, err, f.logins)
		}
	}
	find(1)
	find(1)
	f.token = "forgotten"
	find(2)
	n := d.(*nacos)
	n.renew = time.Now()
	find(3)
	if left := time.Until(n.renew); left < 40*time.Minute || left > 48*time.Minute {
		t.Errorf("the token is renewed in %v", left)
	}
	q := f.lists[0]
	if q.Get("serviceName") != "g@@billing" || q.Get("namespaceId") != "n1" || q.Get("clusters") != "a,b" || q.Get("healthyOnly") != "true" {
		t.Errorf("asked %v", q)
	}
	c.Password = setting.NewSecret("wrong")
	if all, err := openSource(t, Source{Nacos: c}).Find(t.Context()); err == nil || !strings.Contains(err.Error(), "login") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong password: %v, %v", all, err)
	}
}

// What is no token is no login, and a time to live may be anything.
func TestNacosLoginAnswers(t *testing.T) {
	for _, bad := range []string{"", "null", `{"accessToken":""}`, `{"accessToken":"a\nb"}`, `{"accessToken":"é"}`, `{"accessToken":7}`} {
		if token, _, err := parseNacosLogin([]byte(bad)); err == nil {
			t.Errorf("%s: %q", bad, token)
		}
	}
	for ttl, want := range map[string]time.Duration{"-1": leastTokenTime, "18000": 5 * time.Hour, "1e300": mostTokenTime} {
		if _, got, err := parseNacosLogin([]byte(`{"accessToken":"a","tokenTtl":` + ttl + `}`)); err != nil || got != want {
			t.Errorf("%s: %v, %v", ttl, got, err)
		}
	}
}

// Servers are asked in turn, beginning with the one that answered last; one that hangs costs its timeout, once.
func TestServersInTurn(t *testing.T) {
	var asked [3]atomic.Int32
	var good atomic.Int32
	good.Store(2)
	var all []string
	for i := range asked {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked[i].Add(1)
			switch {
			case i == int(good.Load()):
				_, _ = io.WriteString(w, `{"hosts":[]}`)
			case i == 0:
				<-r.Context().Done()
			default:
				http.Error(w, "starting", http.StatusServiceUnavailable)
			}
		}))
		t.Cleanup(s.Close)
		all = append(all, s.URL)
	}
	d := openSource(t, Source{Nacos: Nacos{Servers: all, Service: "billing", Timeout: 100 * time.Millisecond}})
	find := func(ctx context.Context, known bool, want [3]int32) {
		t.Helper()
		_, err := d.Find(ctx)
		var got [3]int32
		for i := range asked {
			got[i] = asked[i].Load()
		}
		if (err == nil) != known || got != want {
			t.Errorf("%v: the servers were asked %v times, want %v", err, got, want)
		}
	}
	find(t.Context(), true, [3]int32{1, 1, 1})
	find(t.Context(), true, [3]int32{1, 1, 2})
	good.Store(1)
	find(t.Context(), true, [3]int32{2, 2, 3})
	good.Store(-1)
	find(t.Context(), false, [3]int32{3, 3, 4})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	find(gone, false, [3]int32{3, 3, 4})
}

func TestNacosBadAnswers(t *testing.T) {
	for what, answer := range badAnswers {
		d := openSource(t, Source{Nacos: Nacos{Servers: []string{answering(t, answer).URL}, Service: "billing"}})
		if all, err := d.Find(t.Context()); err == nil {
			t.Errorf("%s: found %v", what, all)
		}
	}
}

func FuzzNacos(f *testing.F) {
	f.Add([]byte(`{"hosts":[` + fmt.Sprintf(nacosHost, 0.5, true, true) + `]}`))
	f.Add([]byte(`{"hosts":null}`))
	f.Add([]byte(`{"hosts":[{"port":-1,"weight":1e308,"healthy":true,"enabled":true,"metadata":{"url":"wss"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		all, err := parseNacos(body, "http")
		checkSound(t, instances(all, false), err)
		checkSound(t, instances(all, true), err)
		if token, ttl, err := parseNacosLogin(body); err == nil && (token == "" || ttl < leastTokenTime || ttl > mostTokenTime) {
			t.Errorf("token %q for %v", token, ttl)
		}
	})
}
