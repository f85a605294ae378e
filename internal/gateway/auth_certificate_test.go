package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/longline/longline/internal/auth"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if err := os.WriteFile(a.file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign makes a certificate, the authority's own as the first.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	template.SerialNumber, template.NotAfter = big.NewInt(7), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// device makes a client's certificate.
func (a *authority) device(name string) []tls.Certificate {
	cert, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
}

// A client certificate that leads to an authority names the device; any other ends the
// TLS handshake, and so does none where one is required.
func TestClientCertificates(t *testing.T) {
	files, pool := tlsFiles(t)
	ours, theirs := newAuthority(t), newAuthority(t)
	files.ClientCA = ours.file
	required := files
	required.ClientAuth = "require"
	config := auth.Config{Order: []string{"certificate"}}
	request, require := newGuarded(t, config, settings{gateway: Config{TLS: files}}), newGuarded(t, config, settings{gateway: Config{TLS: required}})
	for _, tt := range []struct {
		name   string
		w      *world
		path   string
		shown  []tls.Certificate
		status int // 0 when TLS fails
	}{
		{"named by the certificate", request, "/connect", ours.device("m-1"), 101},
		{"named by both", require, "/connect/m-1", ours.device("m-1"), 101},
		{"another device's", request, "/connect/m-2", ours.device("m-1"), 403},
		{"none", request, "/connect/m-1", nil, 401},
		{"none where it is required", require, "/connect/m-1", nil, 0},
		{"of another authority", request, "/connect/m-1", theirs.device("m-1"), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := dialTLS(t, tt.w, tt.path, &tls.Config{RootCAs: pool, Certificates: tt.shown}); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
		})
	}
}

// dialTLS returns the status of the handshake, 0 when there was none.
func dialTLS(t *testing.T, w *world, path string, config *tls.Config) int {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	ws, response, err := coder.Dial(ctx, "wss://"+w.gateway.Addr().String()+path, &coder.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err == nil {
		_ = ws.CloseNow()
	}
	if response == nil {
		return 0
	}
	return response.StatusCode
}
