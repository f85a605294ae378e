package setting

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/longline/longline/internal/reload"
)

// TLS is how the gateway, as a client, verifies a server's certificate, and which certificate of its own it presents.
type TLS struct {
	CA         string `yaml:"ca" help:"PEM file with the authorities of the server's certificate; left out, the system's; read again when it changes"`
	Cert       string `yaml:"cert" help:"PEM file with the certificate that the gateway presents; read again when it changes"`
	Key        string `yaml:"key" help:"PEM file with its private key"`
	ServerName string `yaml:"server_name" help:"the name in the server's certificate; left out, the host of the URL"`
}

// WithDefaults implements Section.
func (c TLS) WithDefaults() TLS { return c }

// Validate implements Section.
func (c TLS) Validate() error {
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("cert: want both cert and key, or none")
	}
	return nil
}

// Dialer returns what makes TLS connections, for http.Transport's DialTLSContext: over connections that over makes, or a plain net.Dialer if
// it is nil; protocols are offered by ALPN. It reads the files, and w reads
// them again when they change. Errors begin with the key.
func (c TLS) Dialer(w *reload.Watcher, over *net.Dialer, protocols ...string) (func(ctx context.Context, network, address string) (net.Conn, error), error) {
	configure, err := c.Client(w)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{NetDialer: over, Config: configure(host)}
		d.Config.NextProtos = protocols
		return d.DialContext(ctx, network, address)
	}, nil
}

// Client returns a function that makes the configuration of one TLS connection to a host, for protocols that begin without TLS. It is safe from any
// goroutine. Client reads the files, and w reads them again when they change. Errors begin with the key.
func (c TLS) Client(w *reload.Watcher) (func(host string) *tls.Config, error) {
	roots := func() *x509.CertPool { return nil }
	if c.CA != "" {
		f, err := reload.Open(w, c.CA, authorities)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		roots = f.Get
	}
	var present func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	if c.Cert != "" {
		pair, err := reload.OpenKeyPair(w, c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("cert: %w", err)
		}
		present = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair.Get(nil) }
	}
	return func(host string) *tls.Config {
		return &tls.Config{
			MinVersion:           tls.VersionTLS12,
			ServerName:           cmp.Or(c.ServerName, host),
			RootCAs:              roots(),
			GetClientCertificate: present,
		}
	}, nil
}

// authorities reads PEM certificates.
func authorities(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("it has no PEM certificate")
	}
	return pool, nil
}
