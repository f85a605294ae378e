package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/longline/longline/internal/bench"
)

// secured measures what TLS adds to a server that can speak it: memory and handshakes. The
// keys are ECDSA P-256, the version is 1.3; sessions are not resumed.
func (o *options) secured(ctx context.Context, s *server, r *bench.Summary) error {
	folder, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	cert, key := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	roots, err := writeCertificate(cert, key)
	if err != nil {
		return err
	}
	with := *s
	with.args = append(append([]string(nil), s.args...), s.secure(cert, key)...)
	running, err := with.start(ctx, o.ServerCPU)
	if err != nil {
		return err
	}
	defer running.stop()
	t := running.target
	t.TLS = &tls.Config{RootCAs: roots, ServerName: loopback.String()}
	if err := o.secureIdle(ctx, t, r); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	result, err := bench.Handshakes(ctx, t, o.Handshake/4)
	if err != nil {
		return fmt.Errorf("TLS handshakes: %w", err)
	}
	r.Add("tls_handshake", bench.Micros(result.Cost()))
	return nil
}

// secureIdle measures the memory of connections that have said something once, so that
// nothing of the handshake is left to come.
func (o *options) secureIdle(ctx context.Context, t bench.Target, r *bench.Summary) error {
	empty, err := t.Process.FreeMemory(ctx)
	if err != nil {
		return err
	}
	c, err := bench.Connect(ctx, t, o.Many)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Broadcast(ctx, 1); err != nil {
		return err
	}
	full, err := t.Process.FreeMemory(ctx)
	if err != nil {
		return err
	}
	r.Add("tls_idle", (float64(full)-float64(empty))/float64(o.Many))
	return nil
}

var loopback = net.IPv4(127, 0, 0, 1)

// writeCertificate makes a self-signed certificate for loopback, and who trusts it.
func writeCertificate(certFile, keyFile string) (*x509.CertPool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{loopback}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return roots, nil
}
