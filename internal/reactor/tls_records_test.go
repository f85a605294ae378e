package reactor

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// setTLS changes the server's side of crypto/tls before the first connection.
func setTLS(g *Group, change func(*tls.Config)) {
	g.Each(func(l *Loop) { change(l.config.TLS.Config) })
}

// A client may send as soon as it has finished its handshake. What arrives before the worker has finished
// waits: in memory up to a limit, and then in the kernel.
func TestTLSMuchBeforeTheHandshakeIsDone(t *testing.T) {
	g, config := serveTLS(t, 1, 0, func(*Loop) Handler { return &echo{} })
	held, release := context.WithCancel(t.Context()) // done before the workers are waited for
	setTLS(g, func(server *tls.Config) {
		server.VerifyConnection = func(tls.ConnectionState) error { <-held.Done(); return nil }
	})
	c := tls.Client(connect(t, g), config)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() { _, _ = c.Write(want) }()
	for g.Stats().BytesIn <= maxHello { // the deadline is the connection's
	}
	for range 20 {
		if n := g.Stats().BytesIn; n > 2*maxHello+maxRecord {
			t.Fatalf("%d bytes were read", n)
		}
	}
	release()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d of %d bytes came back: %v", n, len(want), err)
	}
}

// What crypto/tls sends by itself leaves at once: otherwise it would pile up while the handler
// has nothing to send.
func TestTLSAnswersKeyUpdate(t *testing.T) {
	g, config := serveTLS(t, 1, 0, func(*Loop) Handler { return &echo{} })
	setTLS(g, func(server *tls.Config) { server.SessionTicketsDisabled = true })
	var secrets bytes.Buffer
	config.KeyLogWriter = &secrets
	raw := connect(t, g)
	c := tls.Client(raw, config)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Write(keyUpdate(t, c.ConnectionState().CipherSuite, secrets.String())); err != nil {
		t.Fatal(err)
	}
	_ = raw.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := raw.Read(make([]byte, 100)); n == 0 {
		t.Errorf("no answer: %v", err)
	}
	if s := g.Stats(); s.Lent != 0 {
		t.Errorf("%d buffers are lent to an idle connection", s.Lent)
	}
}

// The handler is not told that a certificate has filled the socket.
func TestTLSNothingBeforeOnOpen(t *testing.T) {
	opened := false
	drained := make(chan bool, 1)
	g, config := serveTLS(t, 1, 0, func(*Loop) Handler {
		return &echo{
			opened:  func(*Conn) { opened = true },
			drained: func(*Conn) { drained <- opened },
		}
	})
	setTLS(g, func(server *tls.Config) {
		cert := &server.Certificates[0]
		cert.Certificate = slices.Repeat(cert.Certificate, 400)
	})
	if err := tls.Client(narrow(t, g), config).Handshake(); err != nil {
		t.Fatal(err)
	}
	g.Each(func(*Loop) {})
	select {
	case open := <-drained:
		t.Errorf("OnDrained of what the handler did not write, open %v", open)
	default:
	}
}

// keyUpdate is the first record of a client after its handshake: a KeyUpdate that asks for
// another, RFC 8446 §4.6.3.
func keyUpdate(t *testing.T, suite uint16, log string) []byte {
	t.Helper()
	_, line, _ := strings.Cut(log, "CLIENT_TRAFFIC_SECRET_0 ")
	line, _, _ = strings.Cut(line, "\n")
	_, digits, _ := strings.Cut(line, " ")
	secret, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	expand := func(label string, n int) []byte { // RFC 8446 §7.1
		info := "\x00" + string(rune(n)) + string(rune(6+len(label))) + "tls13 " + label + "\x00"
		b, err := hkdf.Expand(sha256.New, secret, info, n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var seal cipher.AEAD
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
		var block cipher.Block
		if block, err = aes.NewCipher(expand("key", 16)); err == nil {
			seal, err = cipher.NewGCM(block)
		}
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		seal, err = chacha20poly1305.New(expand("key", chacha20poly1305.KeySize))
	default:
		t.Fatal(tls.CipherSuiteName(suite))
	}
	if err != nil {
		t.Fatal(err)
	}
	message := []byte{24, 0, 0, 1, 1, 22} // type, length, update_requested; content type handshake
	header := []byte{23, 3, 3, 0, byte(len(message) + seal.Overhead())}
	return seal.Seal(header, expand("iv", seal.NonceSize()), message, header)
}
