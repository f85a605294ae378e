package door

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/reload"
)

// TLS has the options of TLS on the device port. Without Cert the port speaks plain WebSocket.
type TLS struct {
	Cert       string        `yaml:"cert" help:"certificate chain, a PEM file; read again when it changes"`
	Key        string        `yaml:"key" help:"its private key, a PEM file; read again when it changes"`
	MinVersion string        `yaml:"min_version" help:"1.2 or 1.3"`
	ClientCA   string        `yaml:"client_ca" help:"authorities of client certificates, a PEM file; read again when it changes"`
	ClientAuth string        `yaml:"client_auth" help:"whether devices show a certificate: none, request (they may) or require; request with client_ca when left out"`
	TicketKeys string        `yaml:"ticket_keys" help:"file of session ticket keys that nodes share: one key per line, 32 bytes in base64; the first key encrypts, all decrypt; read again when it changes; without it, the node makes and rotates its own keys"`
	Handshakes int           `yaml:"handshakes" help:"TLS handshakes that run at the same time; as many more wait to run, and 16 times as many wait for their clients"`
	Timeout    time.Duration `yaml:"timeout" help:"how long a TLS handshake may take"`

	CipherSuites []string `yaml:"cipher_suites" help:"the only cipher suites of TLS 1.2, such as TLS_RSA_WITH_AES_128_CBC_SHA for old chargers; Go's secure ones when left out. Suites without forward secrecy, and those with CBC, are weak: whoever gets the key later can read recorded traffic"`
}

// WithDefaults returns t with the defaults in place of zero fields.
func (t TLS) WithDefaults() TLS {
	t.MinVersion = cmp.Or(t.MinVersion, "1.2")
	if t.ClientCA != "" {
		t.ClientAuth = cmp.Or(t.ClientAuth, "request")
	}
	t.ClientAuth = cmp.Or(t.ClientAuth, "none")
	t.Handshakes = cmp.Or(t.Handshakes, 256)
	t.Timeout = cmp.Or(t.Timeout, 10*time.Second)
	return t
}

var (
	tlsVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

	// clientAuths never accept a certificate that none of the authorities has signed.
	clientAuths = map[string]tls.ClientAuthType{
		"none": tls.NoClientCert, "request": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert,
	}
)

// Validate returns what is wrong with t, after WithDefaults. The error begins with the key.
func (t TLS) Validate() error {
	auth, known := clientAuths[t.ClientAuth]
	switch {
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("cert: cert and key go together")
	case tlsVersions[t.MinVersion] == 0:
		return fmt.Errorf("min_version: want 1.2 or 1.3, not %q", t.MinVersion)
	case !known:
		return fmt.Errorf("client_auth: want none, request or require, not %q", t.ClientAuth)
	case auth != tls.NoClientCert && (t.ClientCA == "" || t.Cert == ""):
		return fmt.Errorf("client_auth: %s needs cert and client_ca", t.ClientAuth)
	}
	if _, _, err := cipherSuites(t.CipherSuites); err != nil {
		return fmt.Errorf("cipher_suites: %w", err)
	}
	return nil
}

// cipherSuites returns the numbers of the named suites, and the names of those that are weak. Without names, the
// numbers are nil, which means Go's own choice.
func cipherSuites(names []string) (ids []uint16, weak []string, err error) {
	strong, insecure := tls.CipherSuites(), tls.InsecureCipherSuites()
	for _, name := range names {
		named := func(s *tls.CipherSuite) bool {
			return s.Name == name && slices.Contains(s.SupportedVersions, tls.VersionTLS12)
		}
		if i := slices.IndexFunc(strong, named); i >= 0 {
			ids = append(ids, strong[i].ID)
		} else if i := slices.IndexFunc(insecure, named); i >= 0 {
			ids, weak = append(ids, insecure[i].ID), append(weak, name)
		} else {
			return nil, nil, fmt.Errorf("%q is no cipher suite of TLS 1.2; known are %s", name, strings.Join(suiteNames(strong, insecure), ", "))
		}
	}
	return ids, weak, nil
}

// suiteNames returns the names of the suites of TLS 1.2.
func suiteNames(lists ...[]*tls.CipherSuite) (names []string) {
	for _, s := range slices.Concat(lists...) {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			names = append(names, s.Name)
		}
	}
	return names
}

// Keeper holds the certificate, the client authorities and the ticket keys, as they are in the files now.
type Keeper struct {
	// Static after construction.
	config  TLS
	tls     *tls.Config
	pair    *reload.KeyPair
	workers *reactor.Workers
	stop    func() // see Close

	// Safe from any goroutine.
	verifying atomic.Pointer[tls.Config] // nil without authorities
}

// OpenKeeper reads the files and watches them. Without a certificate it returns nil.
func OpenKeeper(config TLS) (*Keeper, error) {
	if config.Cert == "" {
		return nil, nil
	}
	w := reload.Start()
	k, err := NewKeeper(config, w)
	if err != nil {
		w.Close()
		return nil, err
	}
	k.stop = sync.OnceFunc(func() {
		w.Close()
		k.workers.Close()
	})
	return k, nil
}

// CheckFiles reads the files that t names, after WithDefaults, and returns what is wrong with them.
func CheckFiles(t TLS) error {
	if t.Cert == "" {
		return nil
	}
	k, err := NewKeeper(t, new(reload.Watcher))
	if err == nil {
		k.Close()
	}
	return err
}

// Close stops the watcher and the workers; k may be nil. The loops have ended before.
func (k *Keeper) Close() {
	if k != nil {
		k.stop()
	}
}

// NewKeeper reads the files, and makes w read them again when they change.
func NewKeeper(config TLS, w *reload.Watcher) (k *Keeper, err error) {
	if _, weak, _ := cipherSuites(config.CipherSuites); len(weak) > 0 {
		slog.Warn("weak TLS cipher suites are enabled: whoever gets the private key can read recorded traffic, or attack CBC", "suites", weak)
	}
	k = &Keeper{config: config}
	if k.pair, err = reload.OpenKeyPair(w, config.Cert, config.Key); err != nil {
		return nil, fmt.Errorf("tls.cert %w", err)
	}
	k.tls = k.Base()
	if config.ClientAuth != "none" {
		if err := w.Add(k.loadAuthorities, config.ClientCA); err != nil {
			return nil, fmt.Errorf("tls.client_ca %w", err)
		}
	}
	k.tls.GetConfigForClient = k.forClient
	if config.TicketKeys != "" {
		if err := w.Add(k.loadTicketKeys, config.TicketKeys); err != nil {
			return nil, fmt.Errorf("tls.ticket_keys %w", err)
		}
	}
	k.workers = reactor.NewWorkers(config.Handshakes, config.Handshakes)
	k.stop = k.workers.Close
	return k, nil
}

// Base returns a new configuration without client authorities and ticket keys.
func (k *Keeper) Base() *tls.Config {
	suites, _, _ := cipherSuites(k.config.CipherSuites) // valid
	return &tls.Config{
		MinVersion:     tlsVersions[k.config.MinVersion],
		CipherSuites:   suites,
		NextProtos:     []string{httpProtocol},
		GetCertificate: k.pair.Get,
	}
}

// forClient returns the configuration for one client; nil means k.tls.
func (k *Keeper) forClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c, protocols := k.verifying.Load(), protocolsFor(hello.SupportedProtos)
	if len(protocols) == 1 && protocols[0] == httpProtocol {
		return c, nil
	}
	if c == nil {
		c = k.tls
	}
	c = c.Clone()
	c.NextProtos = protocols
	return c, nil
}

// httpProtocol is the name of HTTP/1.1 in ALPN. RFC 6455 has no upgrade from HTTP/2.
const httpProtocol = "http/1.1"

// mqttProtocols are the names of MQTT in ALPN, RFC 7301 §6: the registered one, and the one of clients for AWS IoT.
var mqttProtocols = []string{"mqtt", "x-amzn-mqtt-ca"}

// protocolsFor returns the protocols to choose from for a client that offers some by ALPN. A client that offers only
// HTTP/2 is refused; unknown names are ignored.
func protocolsFor(offered []string) []string {
	switch {
	case len(offered) == 0, slices.Contains(offered, httpProtocol), slices.Contains(offered, "h2"):
		return []string{httpProtocol}
	case slices.ContainsFunc(offered, func(p string) bool { return slices.Contains(mqttProtocols, p) }):
		return mqttProtocols
	}
	return nil
}

// Reactor returns what the loops need; nil if k is nil.
func (k *Keeper) Reactor() *reactor.TLSConfig {
	if k == nil {
		return nil
	}
	return &reactor.TLSConfig{Config: k.tls, Handshakes: k.workers, Timeout: k.config.Timeout}
}

// loadAuthorities makes the configuration that verifies clients. Its ticket keys are those of k.tls: crypto/tls takes
// them from there if this configuration has none.
func (k *Keeper) loadAuthorities() error {
	text, err := reload.Read(k.config.ClientCA)
	if err != nil {
		return err
	}
	c := k.Base()
	c.ClientAuth, c.ClientCAs = clientAuths[k.config.ClientAuth], x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s: no certificate in it", k.config.ClientCA)
	}
	k.verifying.Store(c)
	return nil
}

func (k *Keeper) loadTicketKeys() error {
	text, err := reload.Read(k.config.TicketKeys)
	if err != nil {
		return err
	}
	keys, err := parseTicketKeys(text)
	if err != nil {
		return fmt.Errorf("%s:%w", k.config.TicketKeys, err)
	}
	k.tls.SetSessionTicketKeys(keys)
	return nil
}

// parseTicketKeys reads one key per line. It skips empty lines and lines that begin with #. An error begins with the
// line number.
func parseTicketKeys(text []byte) (keys [][32]byte, err error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(string(line))
		if err != nil || len(key) != 32 {
			return nil, fmt.Errorf("%d: want 32 bytes in base64", n)
		}
		keys = append(keys, [32]byte(key))
	}
	if len(keys) == 0 {
		return nil, errors.New(" no key in it")
	}
	return keys, lines.Err()
}

// Stats returns the counters of the handshake workers.
func (k *Keeper) Stats() reactor.WorkersStats { return k.workers.Stats() }
