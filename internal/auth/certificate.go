package auth

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/topic"
)

// certificates verifies client certificates. TLS has already verified that the chain leads to a trusted
// root; this verifier reads the device id and checks the revocation lists.
type certificates struct {
	config Certificate
	lists  *reload.File[revocationLists] // nil without a CRL file
	now    func() time.Time
}

func newCertificates(config Certificate, w *reload.Watcher, now func() time.Time) (*certificates, error) {
	v := &certificates{config: config, now: now}
	if config.CRL == "" {
		return v, nil
	}
	var err error
	v.lists, err = reload.Open(w, config.CRL, parseRevocationLists)
	return v, err
}

// Verify takes the one name in the certificate, or, if there are several, the one that the client claimed.
func (v *certificates) Verify(_ context.Context, c *Credentials) (*Identity, error) {
	if len(c.Certificates) == 0 {
		return nil, ErrNotMine
	}
	if v.lists != nil {
		if err := v.lists.Get().check(c.Certificates, v.now()); err != nil {
			return nil, err
		}
	}
	leaf := c.Certificates[0]
	names := v.names(leaf)
	i := &Identity{Subject: leaf.Subject.String(), ID: "serial:" + leaf.SerialNumber.Text(16), Expires: leaf.NotAfter}
	switch {
	case len(names) == 0:
		return nil, refuse("the certificate has no device id in its " + v.config.Name)
	case slices.Contains(names, c.Device):
		i.Device = c.Device
	case len(names) > 1:
		return nil, refuse("the certificate has several device ids: the URL must name one of them")
	default:
		i.Device = names[0]
	}
	return i, nil
}

// names returns the device ids in a certificate.
func (v *certificates) names(c *x509.Certificate) (ids []string) {
	for _, name := range v.texts(c) {
		rest, begins := strings.CutPrefix(name, v.config.Prefix)
		id, ends := strings.CutSuffix(rest, v.config.Suffix)
		if !begins || !ends || id == "" {
			continue
		}
		if canonical, err := topic.CanonicalDevice(id); err == nil { // otherwise Chain.admit refuses it
			id = canonical
		}
		ids = append(ids, id)
	}
	return ids
}

// texts returns the names that may hold a device id, RFC 5280 §4.1.2.6 and §4.2.1.6.
func (v *certificates) texts(c *x509.Certificate) []string {
	switch v.config.Name {
	case "dns":
		return c.DNSNames
	case "email":
		return c.EmailAddresses
	case "uri":
		all := make([]string, len(c.URIs))
		for i, u := range c.URIs {
			all[i] = u.String()
		}
		return all
	default:
		return []string{c.Subject.CommonName}
	}
}
