package bench

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"
)

func TestCertificate(t *testing.T) {
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	roots, err := WriteCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, held := range map[string]bool{"127.0.0.1": true, "127.0.0.2": false} {
		near, far := net.Pipe()
		served := make(chan struct{})
		go func() {
			_ = tls.Server(far, &tls.Config{Certificates: []tls.Certificate{pair}}).Handshake() // the client reports errors
			close(served)
		}()
		err := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: name}).Handshake()
		_ = near.Close() // ends the server, too
		<-served
		if (err == nil) != held {
			t.Errorf("as %s: %v", name, err)
		}
	}
	if _, err := WriteCertificate(certFile, filepath.Join(keyFile, "below a file")); err == nil {
		t.Error("wrote a key below a file")
	}
}
