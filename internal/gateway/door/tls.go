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

// TLS is what the device port needs to speak TLS. Without Cert it speaks plain WebSocket.
type TLS struct {
	Cert       string        `yaml:"cert" help:"certificate chain, a PEM file; read again when it changes"`
	Key        string        `yaml:"key" help:"its private key, a PEM file; read again when it changes"`
	MinVersion string        `yaml:"min_version" help:"1.2 or 1.3"`
	ClientCA   string        `yaml:"client_ca" help:"authorities of client certificates, a PEM file; read again when it changes"`
	ClientAuth string        `yaml:"client_auth" help:"none, request: a device may show a certificate, or require; request with client_ca when left out"`
	TicketKeys string        `yaml:"ticket_keys" help:"file of session ticket keys that nodes share: 32 bytes in base64 a line, the first encrypts, all decrypt; read again when it changes; without it, the node makes and rotates its own"`
	Handshakes int           `yaml:"handshakes" help:"TLS handshakes that are worked on at the same time; as many more wait for that, and 16 times as many for their clients"`
	Timeout    time.Duration `yaml:"timeout" help:"how long a TLS handshake may take"`

	CipherSuites []string `yaml:"cipher_suites" help:"the only cipher suites of TLS 1.2, such as TLS_RSA_WITH_AES_128_CBC_SHA for old chargers; Go's secure ones when left out. Those without forward secrecy, and with CBC, are weak: whoever gets the key later reads what was recorded"`
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

	// clientAuths never let a certificate pass that leads to none of the authorities.
	clientAuths = map[string]tls.ClientAuthType{
		"none": tls.NoClientCert, "request": tls.VerifyClientCertIfGiven, "require": tls.RequireAndVerifyClientCert,
	}
)

// Validate names what cannot be, after WithDefaults. The error begins with the key.
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
		return fmt.Errorf("client_auth: %s goes with cert and client_ca", t.ClientAuth)
	}
	if _, _, err := cipherSuites(t.CipherSuites); err != nil {
		return fmt.Errorf("cipher_suites: %w", err)
	}
	return nil
}

// cipherSuites are the numbers of the suites named, and the names of those that are weak; no names are nil, Go's own choice.
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

// suiteNames are those of the suites of TLS 1.2.
func suiteNames(lists ...[]*tls.CipherSuite) (names []string) {
	for _, s := range slices.Concat(lists...) {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			names = append(names, s.Name)
		}
	}
	return names
}

// Keeper holds the certificate, the authorities of clients and the ticket keys, as the files have them now.
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

// OpenKeeper reads the files and watches them. It returns nil without a certificate.
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

// CheckFiles reads the files that t names, after WithDefaults, and says what is wrong with them.
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

// Close stops the watching and the workers of a keeper, if there is one. The loops have ended
// before.
func (k *Keeper) Close() {
	if k != nil {
		k.stop()
	}
}

// NewKeeper reads the files and has w read them again.
func NewKeeper(config TLS, w *reload.Watcher) (k *Keeper, err error) {
	if _, weak, _ := cipherSuites(config.CipherSuites); len(weak) > 0 {
		slog.Warn("weak TLS cipher suites are on: who gets the server's key can read what was recorded, or attack CBC", "suites", weak)
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

func (k *Keeper) Base() *tls.Config {
	suites, _, _ := cipherSuites(k.config.CipherSuites) // valid
	return &tls.Config{
		MinVersion:     tlsVersions[k.config.MinVersion],
		CipherSuites:   suites,
		NextProtos:     []string{httpProtocol},
		GetCertificate: k.pair.Get,
	}
}

// forClient is the configuration for one client; nil is k.tls.
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

// httpProtocol is the name of HTTP/1.1 in ALPN: RFC 6455 has no upgrade from HTTP/2.
const httpProtocol = "http/1.1"

// mqttProtocols are MQTT's names in ALPN, RFC 7301 §6: the registered one, and that of clients made
// for AWS IoT.
var mqttProtocols = []string{"mqtt", "x-amzn-mqtt-ca"}

// protocolsFor is what is chosen from for a client that offers some by ALPN. One that offers HTTP/2 alone
// is refused; names that nobody knows are passed over.
func protocolsFor(offered []string) []string {
	switch {
	case len(offered) == 0, slices.Contains(offered, httpProtocol), slices.Contains(offered, "h2"):
		return []string{httpProtocol}
	case slices.ContainsFunc(offered, func(p string) bool { return slices.Contains(mqttProtocols, p) }):
		return mqttProtocols
	}
	return nil
}

// Reactor is what the loops need, nil without a keeper.
func (k *Keeper) Reactor() *reactor.TLSConfig {
	if k == nil {
		return nil
	}
	return &reactor.TLSConfig{Config: k.tls, Handshakes: k.workers, Timeout: k.config.Timeout}
}

// loadAuthorities makes the configuration that verifies clients. The ticket keys stay those
// of k.tls: crypto/tls takes them from there when this has none.
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

// parseTicketKeys reads one key a line; empty lines and those that begin with # are passed
// over. Errors begin with the number of the line.
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

// Stats are those of the workers that shake hands.
func (k *Keeper) Stats() reactor.WorkersStats { return k.workers.Stats() }
