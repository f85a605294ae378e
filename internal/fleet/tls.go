package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/longline/longline/internal/reactor"
)

const handshakesAtOnce = 4 // TLS handshakes that the fleet works on at a time

// clientTLS returns the TLS configuration of the devices, or nil if the gateway does not use TLS.
func (c *Config) clientTLS(t *target) (*tls.Config, error) {
	if !t.secure {
		if c.CA != "" || c.InsecureSkipVerify {
			return nil, errors.New("a CA, or no verification, is for a gateway of wss://")
		}
		return nil, nil
	}
	config := &tls.Config{ServerName: t.name, InsecureSkipVerify: c.InsecureSkipVerify} //nolint:gosec // the user asks for it
	if c.CA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", c.CA)
	}
	return config, nil
}

// startLoops starts the event loops, with workers for TLS handshakes.
func (f *Fleet) startLoops() (err error) {
	config := reactor.Config{Loops: f.config.Loops, MaxConnections: f.devices}
	if f.tls != nil {
		f.workers = reactor.NewWorkers(handshakesAtOnce, 2*f.config.MaxDials)
		config.TLS = &reactor.TLSConfig{Handshakes: f.workers, Timeout: f.config.ConnectTimeout}
	}
	if f.group, err = reactor.Start(config); err != nil {
		f.closeWorkers()
		return fmt.Errorf("start the event loops: %w", err)
	}
	return nil
}

func (f *Fleet) closeWorkers() {
	if f.workers != nil {
		f.workers.Close()
	}
}

// connect dials the gateway for a client.
func (f *Fleet) connect(l *reactor.Loop, c *Client) (*reactor.Conn, error) {
	if f.tls != nil {
		return l.DialTLS(f.target.addr, f.sources.at(c.number), f.tls, c)
	}
	return l.Dial(f.target.addr, f.sources.at(c.number), c)
}
