package registry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/setting"
)

const eurekaOne = `{"hostName":"a.test","ipAddr":"10.0.0.1","status":"UP","port":{"$":9001,"@enabled":"true"},"securePort":{"$":443,"@enabled":"false"},` +
	`"dataCenterInfo":{"@class":"x","name":"Amazon","metadata":{"ami-id":"y"}},"metadata":{"weight":"3","url":"ws://a.test/x"}}`

// What servers of several ages write is read, and only instances that are UP count.
func TestEurekaInstances(t *testing.T) {
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(eurekaOne) }
	one := Instance{"http://a.test:9001", 3}
	for _, tt := range []struct {
		instance string
		want     []Instance
	}{
		{`[]`, nil},
		{`[` + eurekaOne + `]`, []Instance{one}},
		{eurekaOne, []Instance{one}},
		{change(`"$":9001,"@enabled":"true"`, `"$":"9001","@enabled":true`, `"weight":"3"`, `"weight":3`), []Instance{one}},
		{change(`"weight":"3"`, `"@class":"java.util.Collections$EmptyMap"`), []Instance{{one.URL, 1}}},
		{change(`"weight":"3"`, `"weight":"0.25"`), []Instance{{one.URL, 25}}},
		{change(`"weight":"3"`, `"weight":"heavy"`), []Instance{{one.URL, 1}}},
		{change(`"weight":"3"`, `"weight":"NaN"`), nil},
		{change(`"weight":"3"`, `"weight":"0"`), nil},
		{change(`"hostName":"a.test"`, `"hostName":""`), []Instance{{"http://10.0.0.1:9001", 3}}},
		{change(`"$":443,"@enabled":"false"`, `"$":443,"@enabled":"true"`), []Instance{{"https://a.test:443", 3}}},
		{change(`UP`, `DOWN`), nil},
		{change(`UP`, `OUT_OF_SERVICE`), nil},
		{`[` + eurekaOne + `,` + change(`UP`, `STARTING`) + `]`, []Instance{one}},
	} {
		all, err := parseEureka([]byte(`{"application":{"name":"BILLING","instance":` + tt.instance + `}}`))
		if got := instances(all, false); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v", tt.instance, got, err)
		}
	}
	all, err := parseEureka([]byte(`{"application":{"instance":` + eurekaOne + `}}`))
	if got := instances(all, true); err != nil || !slices.Equal(got, []Instance{{"http://a.test/x", 3}}) {
		t.Errorf("gateways: %v, %v", got, err)
	}
}

// That Eureka knows no instance is an answer; that there is no Eureka is none.
func TestEurekaNotFound(t *testing.T) {
	for _, tt := range []struct {
		delta int
		known bool
	}{{http.StatusOK, true}, {http.StatusForbidden, true}, {http.StatusNotFound, false}, {http.StatusServiceUnavailable, false}} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			if r.URL.Path == "/eureka/apps/delta" && user == "ops" && password == "sesame" {
				w.WriteHeader(tt.delta)
				return
			}
			http.NotFound(w, r)
		}))
		d := openSource(t, Source{Eureka: Eureka{Servers: []string{s.URL + "/"}, Service: "billing", User: "ops", Password: setting.NewSecret("sesame")}})
		if all, err := d.Find(t.Context()); (err == nil) != tt.known || len(all) != 0 {
			t.Errorf("%d: found %v, %v", tt.delta, all, err)
		}
		s.Close()
	}
}

func TestEurekaBadAnswers(t *testing.T) {
	for what, answer := range badAnswers {
		d := openSource(t, Source{Eureka: Eureka{Servers: []string{answering(t, answer).URL}, Service: "billing"}})
		if all, err := d.Find(t.Context()); err == nil {
			t.Errorf("%s: found %v", what, all)
		}
	}
}

// The names of applications are in upper case there.
func TestEurekaAsks(t *testing.T) {
	a := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"application":{"instance":[]}}`)
	})
	if _, err := openSource(t, Source{Eureka: Eureka{Servers: []string{a.URL + "/other/eureka/"}, Service: "billing"}}).Find(t.Context()); err != nil {
		t.Error(err)
	}
	if r := a.asked[0]; r.URL.Path != "/other/eureka/apps/BILLING" || r.Header.Get("Accept") != "application/json" {
		t.Errorf("asked %v with %v", r.URL, r.Header)
	}
}

func FuzzEureka(f *testing.F) {
	f.Add([]byte(`{"application":{"instance":` + eurekaOne + `}}`))
	f.Add([]byte(`{"application":{"instance":[` + eurekaOne + `,null,{"port":{"$":"x"}}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		all, err := parseEureka(body)
		checkSound(t, instances(all, false), err)
		checkSound(t, instances(all, true), err)
	})
}
