package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/reload"
)

// secret is the key of HS256, HS384 and HS512.
type secret struct{ reveal func() []byte }

func newSecret(config JWT, w *reload.Watcher) (*secret, error) {
	least := leastSecret(config.Algorithms)
	reveal, err := config.Secret.Follow(w, func(text []byte) error {
		if len(text) < least {
			return fmt.Errorf("want a secret of %d bytes or more for these algorithms", least)
		}
		return nil
	})
	return &secret{reveal}, err
}

// leastSecret is the shortest secret in bytes: as long as the longest hash, RFC 7518 §3.2.
func leastSecret(algorithms []string) int {
	least := 32
	for _, name := range algorithms {
		if m, ok := jwt.GetSigningMethod(name).(*jwt.SigningMethodHMAC); ok {
			least = max(least, m.Hash.Size())
		}
	}
	return least
}

func (s *secret) keys(context.Context, *jwt.Token) (any, error) { return s.reveal(), nil }

// publicKeys are the keys in a PEM file. A signature by any of them is accepted.
type publicKeys struct {
	file *reload.File[[]jwt.VerificationKey]
}

func newPublicKeys(file string, w *reload.Watcher) (*publicKeys, error) {
	f, err := reload.Open(w, file, parsePublicKeys)
	return &publicKeys{f}, err
}

func (k *publicKeys) keys(context.Context, *jwt.Token) (any, error) {
	return jwt.VerificationKeySet{Keys: k.file.Get()}, nil
}

// parsePublicKeys reads the blocks of a PEM file.
func parsePublicKeys(text []byte) ([]jwt.VerificationKey, error) {
	var keys []jwt.VerificationKey
	for n := 1; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		key, err := parsePublicKey(block)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", n, err)
		}
		keys, text = append(keys, key), rest
	}
	if len(keys) == 0 {
		return nil, errors.New("contains no PEM block")
	}
	return slices.Clip(keys), nil
}

func parsePublicKey(block *pem.Block) (key any, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = c.PublicKey
		}
	default:
		return nil, fmt.Errorf("want a public key or a certificate, not %q", block.Type)
	}
	if err != nil {
		return nil, err
	}
	return key, usable(key)
}

// usable returns an error for keys that no algorithm uses, and for RSA keys that are too short, RFC 7518 §3.3.
func usable(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return errors.New("an RSA key of fewer than 2048 bits")
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return fmt.Errorf("no algorithm uses a %T", key)
	}
	return nil
}
