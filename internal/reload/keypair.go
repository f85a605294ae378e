package reload

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
)

// KeyPair is a certificate chain with its private key. Safe from any goroutine.
type KeyPair struct {
	value atomic.Pointer[tls.Certificate]
}

// OpenKeyPair reads two PEM files; w reads them again when one changes.
func OpenKeyPair(w *Watcher, cert, key string) (*KeyPair, error) {
	k := new(KeyPair)
	load := func() error {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", cert, key, err)
		}
		k.value.Store(&pair)
		return nil
	}
	if err := w.Add(load, cert, key); err != nil {
		return nil, err
	}
	return k, nil
}

// Get implements GetCertificate of tls.Config.
func (k *KeyPair) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.value.Load(), nil }
