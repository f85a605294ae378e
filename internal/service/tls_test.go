package service

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longline/longline/internal/reload"
)

// An instance's certificate must come from the configured authorities, and have the configured name.
func TestCertificates(t *testing.T) {
	b := httptest.NewTLSServer(says("good"))
	b.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer b.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w := reload.Start()
	defer w.Close()
	for _, c := range []struct {
		name string
		tls  TLS
		good bool
	}{
		{"the authority", TLS{CA: ca}, true},
		{"the authority and the name", TLS{CA: ca, ServerName: "example.com"}, true},
		{"another name", TLS{CA: ca, ServerName: "example.org"}, false},
		{"the system's authorities", TLS{}, false},
	} {
		s, err := Open("billing", Config{Instances: []string{b.URL}, TLS: c.tls}, w, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var cert *tls.CertificateVerificationError
		if _, err := s.get(t, false); (err == nil) != c.good || err != nil && !errors.As(err, &cert) && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", c.name, err)
		}
		s.Close()
	}
	if err := os.WriteFile(ca, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("billing", Config{Instances: []string{b.URL}, TLS: TLS{CA: ca}}, w, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "tls.ca") || !strings.Contains(err.Error(), ca) {
		t.Errorf("a file without certificates: %v", err)
	}
}

func TestValidate(t *testing.T) {
	good := []string{"http://10.0.0.5:9000"}
	for want, c := range map[string]Config{
		"instances: want instances or dns, and not both":                             {},
		`instances: "10.0.0.5:9000" is no URL`:                                       {Instances: []string{"10.0.0.5:9000"}},
		"instances: want a URL such as http://10.0.0.5:9000, not \"ftp://10.0.0.5\"": {Instances: []string{"ftp://10.0.0.5"}},
		"instances: http://x:xxxxx@h: a URL of an instance has no user":              {Instances: []string{"http://x:secret@h"}},
		"instances: http://10.0.0.5:9000 is listed twice":                            {Instances: []string{good[0], good[0]}},
		"choose: want one of round_robin, random, response_time, least, not \"any\"": {Instances: good, Choose: "any"},
		"protocol: want one of http, h2c":                                            {Instances: good, Protocol: "grpc"},
		"dns.name: billing.internal has no port":                                     {DNS: DNS{Name: "billing.internal"}},
		"dns.scheme: want http or https":                                             {DNS: DNS{Name: "_http._tcp.x", Scheme: "ftp"}},
		"dns.resolver: want an address and a port":                                   {DNS: DNS{Name: "_http._tcp.x", Resolver: "10.0.0.1"}},
		"dns.name: it is missing":                                                    {Instances: good, DNS: DNS{Scheme: "http"}},
		"concurrency: want 1 to":                                                     {Instances: good, Concurrency: -1},
		"timeout: want 1ms to 1h":                                                    {Instances: good, Timeout: 1},
		"tls.cert: want both":                                                        {Instances: good, TLS: TLS{Cert: "a"}},
	} {
		if err := c.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
	for _, c := range []Config{{Instances: good}, {DNS: DNS{Name: "billing.internal:9000"}}, {DNS: DNS{Name: "_http._tcp.billing.internal"}}} {
		if err := c.WithDefaults().Validate(); err != nil {
			t.Error(err)
		}
	}
}
