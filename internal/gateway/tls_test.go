package gateway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
)

// writeCertificate makes a self-signed certificate with the given serial number.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// startTLS starts a gateway that speaks TLS with the files of dir.
func startTLS(t *testing.T, config TLS) *Gateway {
	t.Helper()
	s := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, s)
	sessions, err := session.NewManager(session.Config{}, r, s, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sessions.Close)
	g, err := Start(Config{Listen: "127.0.0.1:0", Insecure: true, TLS: config}, r, sessions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func tlsFiles(t *testing.T) (TLS, *x509.CertPool) {
	t.Helper()
	dir := t.TempDir()
	config := TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	pool := x509.NewCertPool()
	pool.AddCert(writeCertificate(t, config.Cert, config.Key, 1))
	return config, pool
}

func TestDeviceOverTLS(t *testing.T) {
	files, pool := tlsFiles(t)
	g := startTLS(t, files)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	c, _, err := websocket.Dial(ctx, "wss://"+g.Addr().String()+"/connect/tls-1", &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	if _, hello, err := c.Read(ctx); err != nil || !bytes.Contains(hello, []byte(`"op":"hello"`)) {
		t.Fatalf("got %s, %v", hello, err)
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"op":"pub","id":7,"qos":1,"topic":"t","payload":1}`)); err != nil {
		t.Fatal(err)
	}
	if _, ack, err := c.Read(ctx); err != nil || string(ack) != `{"op":"ack","id":7}` {
		t.Fatalf("got %s, %v", ack, err)
	}
}

// Two nodes with the same file of ticket keys resume each other's sessions.
func TestTicketsAreSharedBetweenNodes(t *testing.T) {
	files, pool := tlsFiles(t)
	files.TicketKeys = filepath.Join(t.TempDir(), "tickets")
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files.TicketKeys, []byte("# of today\n"+base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	resumed := func(g *Gateway) bool {
		c, err := tls.Dial("tcp", g.Addr().String(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		// The ticket comes with the first bytes from the server: an HTTP error will do.
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return c.ConnectionState().DidResume
	}
	if resumed(startTLS(t, files)) {
		t.Error("the first connection was a resumption")
	}
	if !resumed(startTLS(t, files)) {
		t.Error("another node with the same ticket keys did not resume")
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	files, _ := tlsFiles(t)
	var w reload.Watcher // does not watch: the test calls Look
	k, err := door.NewKeeper(files.WithDefaults(), &w)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	serial := func() int64 {
		c, _ := k.Reactor().Config.GetCertificate(nil)
		return c.Leaf.SerialNumber.Int64()
	}
	writeCertificate(t, files.Cert, files.Key, 2)
	later := time.Now().Add(time.Minute)
	for _, name := range []string{files.Cert, files.Key} {
		if err := os.Chtimes(name, later, later); err != nil {
			t.Fatal(err)
		}
	}
	if w.Look(); serial() != 2 {
		t.Fatalf("serial %d after the files changed", serial())
	}
	if err := os.WriteFile(files.Cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(files.Cert, later.Add(1), later.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if w.Look(); w.Failed() != 1 {
		t.Error("a bad file was not noticed")
	}
	if serial() != 2 {
		t.Error("a bad file took the good certificate away")
	}
}

func TestTLSFilesThatCannotBe(t *testing.T) {
	files, _ := tlsFiles(t)
	tickets := filepath.Join(t.TempDir(), "tickets")
	if err := os.WriteFile(tickets, []byte("\nshort\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, config := range map[string]TLS{
		"no-such.pem":  {Cert: "no-such.pem", Key: files.Key},
		tickets + ":2": {Cert: files.Cert, Key: files.Key, TicketKeys: tickets},
	} {
		if err := CheckFiles(config.WithDefaults()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %s", err, want)
		}
	}
}

// Clients of MQTT offer its name, those made for AWS IoT one of their own; nobody who can speak MQTT is
// turned away for a name.
func TestALPN(t *testing.T) {
	config, pool := tlsFiles(t)
	s := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, s)
	sessions, err := session.NewManager(session.Config{}, r, s, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sessions.Close)
	g, err := Start(Config{Listen: "127.0.0.1:0", Insecure: true, TLS: config, MQTT: MQTT{TLSListen: "127.0.0.1:0"}}, r, sessions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	for _, tt := range []struct {
		offered []string
		want    string
	}{
		{nil, ""},
		{[]string{"mqtt"}, "mqtt"},
		{[]string{"x-amzn-mqtt-ca"}, "x-amzn-mqtt-ca"},
		{[]string{"something", "mqtt"}, "mqtt"},
		{[]string{"something"}, ""},
		{[]string{"h2", "http/1.1"}, "http/1.1"},
		{[]string{"h2"}, "refused"},
	} {
		c, err := tls.Dial("tcp", g.MQTTSecureAddr().String(), &tls.Config{RootCAs: pool, NextProtos: tt.offered})
		got := "refused"
		if err == nil {
			got = c.ConnectionState().NegotiatedProtocol
			if _, err := c.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")); err != nil {
				t.Error(err)
			}
			connack := make([]byte, 4)
			if _, err := io.ReadFull(c, connack); err != nil || connack[3] != 0 {
				t.Errorf("%q: CONNACK %x, %v", tt.offered, connack, err)
			}
			_ = c.Close()
		}
		if got != tt.want {
			t.Errorf("offered %q: %q, %v; want %q", tt.offered, got, err, tt.want)
		}
	}
}

// A charger that knows nothing better than RSA and CBC comes in where that is asked for, and only there.
func TestCipherSuites(t *testing.T) {
	config, pool := tlsFiles(t)
	old := &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}}
	if c, err := tls.Dial("tcp", startTLS(t, config).Addr().String(), old); err == nil {
		_ = c.Close()
		t.Error("a weak suite is on by default")
	}
	config.CipherSuites = []string{"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"}
	c, err := tls.Dial("tcp", startTLS(t, config).Addr().String(), old)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}
