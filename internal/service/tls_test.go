package service

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// An instance's certificate must come from the configured authorities, and have the configured name.
func TestCertificates(t *testing.T) {
	b := httptest.NewTLSServer(says("good"))
	b.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer b.Close()
	ca := writeCA(t, b)
	w := reload.Start()
	defer w.Close()
	for _, c := range []struct {
		name string
		tls  setting.TLS
		good bool
	}{
		{"the authority", setting.TLS{CA: ca}, true},
		{"the authority and the name", setting.TLS{CA: ca, ServerName: "example.com"}, true},
		{"another name", setting.TLS{CA: ca, ServerName: "example.org"}, false},
		{"the system's authorities", setting.TLS{}, false},
	} {
		s, err := Open("billing", Config{Source: registry.Source{Instances: []string{b.URL}}, TLS: c.tls, Timeout: time.Minute}, w, slog.New(slog.DiscardHandler))
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
	if _, err := Open("billing", Config{Source: registry.Source{Instances: []string{b.URL}}, TLS: setting.TLS{CA: ca}}, w, slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "tls.ca") || !strings.Contains(err.Error(), ca) {
		t.Errorf("a file without certificates: %v", err)
	}
}

// A certificate must be one for the host of the URL, also if that is an address.
func TestCertificateOfAnotherAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	b := httptest.NewUnstartedServer(says("good"))
	_ = b.Listener.Close()
	b.Listener = l
	b.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	b.StartTLS() // with a certificate for 127.0.0.1
	defer b.Close()
	w := reload.Start()
	defer w.Close()
	s, err := Open("billing", Config{Source: registry.Source{Instances: []string{b.URL}}, TLS: setting.TLS{CA: writeCA(t, b)}}, w, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.get(t, false); err == nil || !strings.Contains(err.Error(), "127.0.0.2") {
		t.Errorf("%v", err)
	}
}

// writeCA returns the name of a file with the certificate of b.
func writeCA(t *testing.T, b *httptest.Server) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestValidate(t *testing.T) {
	good := registry.Source{Instances: []string{"http://10.0.0.5:9000"}}
	if err := (Config{Source: good}).WithDefaults().Validate(); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]Config{
		"instances: nothing says where they are":                                     {},
		"choose: want one of round_robin, random, response_time, least, not \"any\"": {Source: good, Choose: "any"},
		"protocol: want one of http, h2c, grpc":                                      {Source: good, Protocol: "ftp"},
		"concurrency: want 1 to":                                                     {Source: good, Concurrency: -1},
		"timeout: want 1ms to 1h":                                                    {Source: good, Timeout: 1},
		"tls.cert: want both":                                                        {Source: good, TLS: setting.TLS{Cert: "a"}},
	} {
		if err := c.WithDefaults().Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}
