package gateway

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/reactor"
)

// TLS is what the device port needs to speak TLS. Without Cert it speaks plain WebSocket.
type TLS struct {
	Cert       string        `yaml:"cert" help:"certificate chain, a PEM file; read again when it changes"`
	Key        string        `yaml:"key" help:"its private key, a PEM file; read again when it changes"`
	MinVersion string        `yaml:"min_version" help:"1.2 or 1.3"`
	TicketKeys string        `yaml:"ticket_keys" help:"file of session ticket keys that nodes share: 32 bytes in base64 a line, the first encrypts, all decrypt; read again when it changes; without it, the node makes and rotates its own"`
	Handshakes int           `yaml:"handshakes" help:"TLS handshakes at the same time; as many again wait"`
	Timeout    time.Duration `yaml:"timeout" help:"how long a TLS handshake may take"`
}

// WithDefaults returns t with the defaults in place of zero fields.
func (t TLS) WithDefaults() TLS {
	t.MinVersion = cmp.Or(t.MinVersion, "1.2")
	t.Handshakes = cmp.Or(t.Handshakes, 256)
	t.Timeout = cmp.Or(t.Timeout, 10*time.Second)
	return t
}

var tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// Validate names what cannot be, after WithDefaults. The error begins with the key.
func (t TLS) Validate() error {
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("cert and key go together")
	}
	if tlsVersions[t.MinVersion] == 0 {
		return fmt.Errorf("min_version: want 1.2 or 1.3, not %q", t.MinVersion)
	}
	return nil
}

// watchEvery is how often the files are looked at.
const watchEvery = 2 * time.Second

// keeper holds the certificate and the ticket keys of the day.
type keeper struct {
	// Static after construction.
	config  TLS
	tls     *tls.Config
	workers *reactor.Workers
	stop    func() // see close
	stopped chan struct{}
	done    sync.WaitGroup

	// Safe from any goroutine.
	certificate atomic.Pointer[tls.Certificate]

	// Owned by the watching goroutine, once it runs.
	stamps map[string]time.Time // of the files, as last read
}

// openKeeper is newKeeper, or nil without a certificate.
func openKeeper(config TLS) (*keeper, error) {
	if config.Cert == "" {
		return nil, nil
	}
	return newKeeper(config)
}

// close stops the watching and the workers of a keeper, if there is one. The loops have ended
// before.
func (k *keeper) close() {
	if k != nil {
		k.stop()
	}
}

// newKeeper reads the files and watches them.
func newKeeper(config TLS) (*keeper, error) {
	k := &keeper{config: config, stopped: make(chan struct{}), stamps: make(map[string]time.Time)}
	k.tls = &tls.Config{
		MinVersion: tlsVersions[config.MinVersion],
		NextProtos: []string{"http/1.1"}, // RFC 6455 has no upgrade from HTTP/2
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return k.certificate.Load(), nil
		},
	}
	if err := k.load(); err != nil {
		return nil, err
	}
	k.workers = reactor.NewWorkers(config.Handshakes, config.Handshakes)
	k.stop = sync.OnceFunc(func() {
		close(k.stopped)
		k.done.Wait()
		k.workers.Close()
	})
	k.done.Go(k.watch)
	return k, nil
}

// reactor is what the loops need, nil without a keeper.
func (k *keeper) reactor() *reactor.TLSConfig {
	if k == nil {
		return nil
	}
	return &reactor.TLSConfig{Config: k.tls, Handshakes: k.workers, Timeout: k.config.Timeout}
}

func (k *keeper) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := k.load(); err != nil {
				slog.Error("TLS files changed and cannot be used; the old ones stay", "error", err)
			}
		case <-k.stopped:
			return
		}
	}
}

// load reads what has changed.
func (k *keeper) load() error {
	if k.changed(k.config.Cert, k.config.Key) {
		certificate, err := tls.LoadX509KeyPair(k.config.Cert, k.config.Key)
		if err != nil {
			return fmt.Errorf("tls.cert %s, tls.key %s: %w", k.config.Cert, k.config.Key, err)
		}
		k.certificate.Store(&certificate)
	}
	if k.config.TicketKeys != "" && k.changed(k.config.TicketKeys) {
		keys, err := readTicketKeys(k.config.TicketKeys)
		if err != nil {
			return fmt.Errorf("tls.ticket_keys %w", err)
		}
		k.tls.SetSessionTicketKeys(keys)
	}
	return nil
}

// changed tells whether a file is not the one that was read last. A file that is not
// there is for the reader to complain about.
func (k *keeper) changed(files ...string) bool {
	differs := false
	for _, name := range files {
		var stamp time.Time
		if info, err := os.Stat(name); err == nil {
			stamp = info.ModTime()
		}
		if old, ok := k.stamps[name]; !ok || !old.Equal(stamp) {
			k.stamps[name] = stamp
			differs = true
		}
	}
	return differs
}

// readTicketKeys reads one key a line; empty lines and those that begin with # are passed
// over.
func readTicketKeys(name string) (keys [][32]byte, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(string(line))
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("%s:%d: want 32 bytes in base64", name, n)
		}
		keys = append(keys, [32]byte(key))
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no key in it", name)
	}
	return keys, lines.Err()
}
