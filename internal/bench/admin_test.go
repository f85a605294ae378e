package bench

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const someMetrics = "# HELP a b\n\na 1\na_total{outcome=\"refused_503\"} 2\na_total{outcome=\"refused_400\"} 3.5\na_total{outcome=\"accepted\"} 9\nbad line\n"

func TestAdmin(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(someMetrics)) })
	s := httptest.NewServer(mux)
	defer s.Close()
	a := &Admin{URL: s.URL, Client: s.Client()}
	m, err := a.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if m["a"] != 1 || m.Sum(`a_total{outcome="refused`) != 5.5 || len(m) != 4 {
		t.Errorf("%v", m)
	}
	if _, err := a.Get(t.Context(), "/readyz"); err == nil || !strings.Contains(err.Error(), "/readyz: 404") {
		t.Errorf("a path that there is not: %v", err)
	}
	a.URL = "http://127.0.0.1:0"
	if m, err := a.Metrics(t.Context()); err == nil {
		t.Errorf("nobody listens: %v", m)
	}
}

// What is read is a name, of a line that is no comment.
func FuzzParseMetrics(f *testing.F) {
	f.Add([]byte(someMetrics))
	f.Add([]byte("x{y=\"z w\"} +Inf\r\n x\t NaN\n#\n 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for name := range ParseMetrics(text) {
			if name == "" || name[0] == '#' || strings.Contains(name, "\n") || !strings.Contains(string(text), name+" ") {
				t.Errorf("%q", name)
			}
		}
	})
}
