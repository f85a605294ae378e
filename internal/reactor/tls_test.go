package reactor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"testing"
	"time"
)

// certificate returns a self-signed certificate for 127.0.0.1 and a pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// serveTLS starts a group with TLS, with workers for n handshakes at a time.
func serveTLS(t *testing.T, n int, timeout time.Duration, h func(*Loop) Handler) (*Group, *tls.Config) {
	t.Helper()
	cert, pool := certificate(t)
	workers := NewWorkers(n, 16)
	g := serve(t, Config{Loops: 1, TLS: &TLSConfig{
		Config:     &tls.Config{Certificates: []tls.Certificate{cert}},
		Handshakes: workers,
		Timeout:    timeout,
	}}, h)
	t.Cleanup(func() { g.Close(); workers.Close() })
	return g, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}

// dribble is a net.Conn that sends its bytes one at a time.
type dribble struct{ net.Conn }

func (d dribble) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestTLSEcho(t *testing.T) {
	g, config := serveTLS(t, 2, 0, func(*Loop) Handler { return &echo{} })
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			config := config.Clone()
			config.MaxVersion = version
			c := tls.Client(dribble{connect(t, g)}, config)
			want := bytes.Repeat([]byte("0123456789abcdef"), 2000) // more than a record
			go func() { _, _ = c.Write(want) }()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("echo differs: %v", err)
			}
			if v := c.ConnectionState().Version; v != version {
				t.Errorf("spoke %s", tls.VersionName(v))
			}
		})
	}
	if s := g.Stats(); s.Lent != 0 {
		t.Errorf("%d buffers are lent to idle connections", s.Lent)
	}
}

func TestTLSFinishSendsEverythingAndSaysSo(t *testing.T) {
	const size = 1 << 20
	g, config := serveTLS(t, 2, 0, func(*Loop) Handler {
		return &echo{opened: func(c *Conn) {
			c.Share(make([]byte, size))
			c.Finish()
		}}
	})
	c := tls.Client(connect(t, g), config)
	// Without close_notify, io.Copy would report io.ErrUnexpectedEOF.
	if n, err := io.Copy(io.Discard, c); err != nil || n != size {
		t.Fatalf("read %d of %d bytes: %v", n, size, err)
	}
}

func TestTLSPeerCloses(t *testing.T) {
	ended := make(chan error, 1)
	g, config := serveTLS(t, 2, 0, func(*Loop) Handler {
		return &echo{closed: func(_ *Conn, err error) { ended <- err }}
	})
	c := tls.Client(connect(t, g), config)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if err := await(t, ended, "OnClose"); !errors.Is(err, io.EOF) {
		t.Errorf("OnClose got %v, want io.EOF", err)
	}
}

func TestTLSBadHandshakes(t *testing.T) {
	ended := make(chan error, 10)
	g, config := serveTLS(t, 1, 500*time.Millisecond, func(*Loop) Handler {
		return &echo{
			opened: func(*Conn) { t.Error("OnOpen without a handshake") },
			closed: func(_ *Conn, err error) { ended <- err },
		}
	})
	fails := func(what string) {
		t.Helper()
		if err := await(t, ended, what); !errors.Is(err, ErrHandshake) {
			t.Errorf("%s: OnClose got %v, want ErrHandshake", what, err)
		}
	}
	t.Run("plain HTTP", func(t *testing.T) {
		_, _ = connect(t, g).Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		fails("plain HTTP")
	})
	t.Run("untrusted", func(t *testing.T) {
		c := tls.Client(connect(t, g), &tls.Config{ServerName: "127.0.0.1"})
		if c.Handshake() == nil {
			t.Error("the client trusts an unknown certificate")
		}
		_ = c.Close()
		fails("a client that objects")
	})
	t.Run("silent", func(t *testing.T) {
		connect(t, g)
		fails("a client that says nothing")
	})
	t.Run("stalled", func(t *testing.T) {
		// It sends its hello and no more: the one worker is occupied until the alarm, then free.
		stalled := connect(t, g)
		c := tls.Client(writeOnly{stalled}, config)
		go func() { _ = c.Handshake() }()
		fails("a client that stalls")
	})
}

// writeOnly lets a client send, and hides the answers.
type writeOnly struct{ net.Conn }

func (w writeOnly) Read(p []byte) (int, error) {
	if _, err := w.Conn.Read(p); err != nil {
		return 0, err
	}
	return w.Read(p)
}

// Clients that send only a hello do not keep others out.
func TestTLSStalledKeepNobodyOut(t *testing.T) {
	g, config := serveTLS(t, 1, 0, func(*Loop) Handler { return &echo{} })
	for range restsEach - 1 {
		c := tls.Client(writeOnly{connect(t, g)}, config)
		go func() { _ = c.Handshake() }()
	}
	workers := g.config.TLS.Handshakes
	for start := time.Now(); workers.Stats().Resting < restsEach-1; {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%+v", workers.Stats())
		}
	}
	c := tls.Client(connect(t, g), config)
	if err := c.Handshake(); err != nil {
		t.Error(err)
	}
	if s := workers.Stats(); s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDialTLS(t *testing.T) {
	server, config := serveTLS(t, 2, 0, func(*Loop) Handler { return &echo{} })
	workers := NewWorkers(2, 16)
	client, err := Start(Config{Loops: 1, TLS: &TLSConfig{Handshakes: workers}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); workers.Close() })
	got := make(chan string, 1)
	client.Loops()[0].Post(TaskFunc(func(l *Loop) {
		_, err := l.DialTLS(server.Addr(), netip.Addr{}, config, &echo{
			opened: func(c *Conn) { c.Write([]byte("hello")) },
			onData: func(_ *Conn, p []byte) int { got <- string(p); return len(p) },
			closed: func(_ *Conn, err error) { t.Log(err) },
		})
		if err != nil {
			t.Error(err)
		}
	}))
	if s := await(t, got, "the echo"); s != "hello" {
		t.Errorf("got %q", s)
	}
}
