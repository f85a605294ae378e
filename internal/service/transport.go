package service

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/longline/longline/internal/reload"
)

// newTransport returns the HTTP client's side of a service.
func newTransport(c *Config, w *reload.Watcher) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil // instances are near
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, c.Concurrency
	t.DisableCompression = true
	if c.Protocol == "h2c" {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
		t.Protocols.SetHTTP2(true)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLS.ServerName}
	if c.TLS.CA != "" {
		f, err := reload.Open(w, c.TLS.CA, authorities)
		if err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
		// The pool is asked at each handshake, so that a changed file counts.
		config.InsecureSkipVerify = true //nolint:gosec // VerifyConnection verifies
		config.VerifyConnection = func(s tls.ConnectionState) error { return verify(s, f.Get()) }
	}
	if c.TLS.Cert != "" {
		pair, err := reload.OpenKeyPair(w, c.TLS.Cert, c.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.cert: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.Get(nil) }
	}
	t.TLSClientConfig = config
	return t, nil
}

// authorities reads PEM certificates.
func authorities(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("it has no PEM certificate")
	}
	return pool, nil
}

// verify checks the certificate of an instance as crypto/tls does.
func verify(s tls.ConnectionState, roots *x509.CertPool) error {
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: s.ServerName, Roots: roots, Intermediates: between})
	return err
}

// withoutURL returns the error inside of an *url.Error: the instance is named elsewhere, and the path may be a device's.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
