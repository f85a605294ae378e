package auth

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// revocationLists are CRLs by the issuer's distinguished name in DER, RFC 5280 §5.
type revocationLists map[string]*revocationList

type revocationList struct {
	list   *x509.RevocationList
	serial map[string]struct{} // revoked serial numbers, big-endian
	// signer is the issuer whose signature was found valid, so that it is verified once.
	signer atomic.Pointer[x509.Certificate]
}

func parseRevocationLists(text []byte) (revocationLists, error) {
	lists := make(revocationLists)
	for n := 1; ; n++ {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", n, err)
		}
		if lists[string(list.RawIssuer)] != nil {
			return nil, fmt.Errorf("block %d: a second list from the same issuer", n)
		}
		l := &revocationList{list: list, serial: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
		for _, entry := range list.RevokedCertificateEntries {
			l.serial[string(entry.SerialNumber.Bytes())] = struct{}{}
		}
		lists[string(list.RawIssuer)], text = l, rest
	}
	if len(lists) == 0 {
		return nil, errors.New("contains no PEM block")
	}
	return lists, nil
}

// check judges a chain at a time, except for its last certificate, which is trusted as it is,
// RFC 5280 §6.1. The issuer of the first must have a list; for the others a list is used
// if there is one.
func (l revocationLists) check(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain[:max(1, len(chain)-1)] {
		list := l[string(c.RawIssuer)]
		if list == nil {
			if i == 0 {
				return fmt.Errorf("%w: no revocation list from %s", ErrUnavailable, c.Issuer)
			}
			continue
		}
		if err := list.current(chain[min(i+1, len(chain)-1)], now); err != nil {
			return fmt.Errorf("%w: revocation list from %s: %w", ErrUnavailable, c.Issuer, err)
		}
		if _, revoked := list.serial[string(c.SerialNumber.Bytes())]; revoked {
			return refuse("the certificate is revoked")
		}
	}
	return nil
}

// current returns an error unless the issuer signed the list and the list is not out of date.
func (l *revocationList) current(issuer *x509.Certificate, now time.Time) error {
	if !l.list.NextUpdate.IsZero() && now.After(l.list.NextUpdate) {
		return errors.New("out of date")
	}
	if known := l.signer.Load(); known != nil && known.Equal(issuer) {
		return nil
	}
	if err := l.list.CheckSignatureFrom(issuer); err != nil {
		return err
	}
	l.signer.Store(issuer)
	return nil
}
