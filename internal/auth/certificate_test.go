package auth

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
)

// authority issues certificates and revocation lists.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(t testing.TB, c *clock, name, key string) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotAfter: c.now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(key),
	}
	a := &authority{key: keys()[key]}
	a.certificate = issued(t, template, template, a.key)
	return a
}

func issued(t testing.TB, template, issuer *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, keys()["P-256"].Public(), key)
	if issuer == template {
		der, err = x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// chain is a device's certificate followed by its issuer's.
func (a *authority) chain(t *testing.T, template *x509.Certificate) []*x509.Certificate {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(42)
	}
	template.NotAfter = a.certificate.NotAfter
	return []*x509.Certificate{issued(t, template, a.certificate, a.key), a.certificate}
}

// list revokes serial numbers until a time, as a PEM block.
func (a *authority) list(t testing.TB, until time.Time, serials ...int64) string {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: until.Add(-time.Hour), NextUpdate: until}
	for _, serial := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: template.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.certificate, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func TestCertificateNames(t *testing.T) {
	c := newClock()
	ca := newAuthority(t, c, "ca", "P-256")
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	cert := &x509.Certificate{
		Subject:        pkix.Name{CommonName: "cn-7", Organization: []string{"fleet"}},
		DNSNames:       []string{"m-7.devices.example.com", "m-8.devices.example.com", "www.example.com", "RDAM|1.ocpp.example.com", "RDAM|2.ocpp.example.com"},
		EmailAddresses: []string{"m-7@example.com"},
		URIs:           []*url.URL{uri("urn:device:m-7"), uri("spiffe://fleet/m-9")},
	}
	const several = "refused: the certificate has several device ids: the URL must name one of them"
	for _, tt := range []struct {
		config         Certificate
		claimed, wants string
	}{
		{Certificate{Name: "cn"}, "", "cn-7"},
		{Certificate{Name: "cn"}, "m-7", "cn-7"}, // the chain refuses it
		{Certificate{Name: "cn", Prefix: "cn-"}, "", "7"},
		{Certificate{Name: "cn", Prefix: "cn-7"}, "", "refused: the certificate has no device id in its cn"},
		{Certificate{Name: "dns", Suffix: ".devices.example.com"}, "m-8", "m-8"},
		{Certificate{Name: "dns", Suffix: ".devices.example.com"}, "", several},
		{Certificate{Name: "dns", Suffix: ".devices.example.com"}, "www.example.com", several},
		{Certificate{Name: "dns", Suffix: ".ocpp.example.com"}, "x:RDAM:7C2", "x:RDAM:7C2"},
		{Certificate{Name: "email", Suffix: "@example.com"}, "", "m-7"},
		{Certificate{Name: "uri", Prefix: "urn:device:"}, "", "m-7"},
		{Certificate{Name: "uri", Prefix: "spiffe://fleet/"}, "", "m-9"},
		{Certificate{Name: "uri", Prefix: "urn:other:"}, "", "refused: the certificate has no device id in its uri"},
	} {
		v, err := newCertificates(tt.config, new(reload.Watcher), c.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := asked(t, v, &Credentials{Certificates: ca.chain(t, cert), Device: tt.claimed}); got != tt.wants {
			t.Errorf("%+v, claimed %q: %s, want %s", tt.config, tt.claimed, got, tt.wants)
		}
		if got := asked(t, v, &Credentials{Device: "cn-7"}); got != "not mine" {
			t.Errorf("without a certificate: %s", got)
		}
	}
	v, _ := newCertificates(Certificate{Name: "cn"}, new(reload.Watcher), c.now)
	i, err := v.Verify(t.Context(), &Credentials{Certificates: ca.chain(t, cert)})
	if err != nil || i.ID != "serial:2a" || i.Subject != "CN=cn-7,O=fleet" || !i.Expires.Equal(ca.certificate.NotAfter) {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestCertificateRevocation(t *testing.T) {
	c, w := newClock(), new(reload.Watcher)
	soon := c.now().Add(time.Hour)
	ca, other := newAuthority(t, c, "ca", "P-256"), newAuthority(t, c, "other", "P-384")
	impostor := newAuthority(t, c, "ca", "P-521")
	device := ca.chain(t, &x509.Certificate{Subject: pkix.Name{CommonName: "m-7"}})
	file := written(t, ca.list(t, soon, 41)+other.list(t, soon, 42))
	v, err := newCertificates(Certificate{Name: "cn", CRL: file}, w, c.now)
	if err != nil {
		t.Fatal(err)
	}
	const revoked = "refused: the certificate is revoked"
	for _, step := range []struct{ name, lists, want string }{
		{"another's serial number", "", "m-7"},
		{"the signature is verified once", "", "m-7"},
		{"revoked", ca.list(t, soon, 41, 42), revoked},
		{"a broken file", "broken", revoked},
		{"no list of the issuer", other.list(t, soon), "unavailable"},
		{"an impostor's list", impostor.list(t, soon), "unavailable"},
		{"what is trusted is not looked up", ca.list(t, soon, 1), "m-7"},
		{"out of date", ca.list(t, c.now().Add(-1), 1), "unavailable"},
		{"lifted", ca.list(t, soon), "m-7"},
	} {
		if step.lists != "" {
			rewrite(t, file, step.lists)
			w.Look()
		}
		if got := asked(t, v, &Credentials{Certificates: device}); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	c.pass(time.Hour + time.Second)
	if got := asked(t, v, &Credentials{Certificates: device}); got != "unavailable" {
		t.Errorf("an hour later: %s", got)
	}
}

func TestIssuerRevocation(t *testing.T) {
	c := newClock()
	soon := c.now().Add(time.Hour)
	root := newAuthority(t, c, "root", "P-384")
	template := *newAuthority(t, c, "middle", "P-256").certificate
	template.SerialNumber = big.NewInt(7)
	middle := &authority{issued(t, &template, root.certificate, root.key), keys()["P-256"]}
	chain := append(middle.chain(t, &x509.Certificate{Subject: pkix.Name{CommonName: "m-7"}}), root.certificate)
	for name, tt := range map[string]struct {
		lists string
		shown []*x509.Certificate
		want  string
	}{
		"revoked":                      {middle.list(t, soon) + root.list(t, soon, 7), chain, "refused: the certificate is revoked"},
		"not revoked":                  {middle.list(t, soon) + root.list(t, soon, 8), chain, "m-7"},
		"its issuer has no list":       {middle.list(t, soon), chain, "m-7"},
		"its issuer's list is old":     {middle.list(t, soon) + root.list(t, c.now().Add(-1)), chain, "unavailable"},
		"trusted without its issuer":   {middle.list(t, soon) + root.list(t, soon, 7), chain[:2], "m-7"},
		"a certificate trusted itself": {root.list(t, soon, 8), chain[2:], "root"},
	} {
		v, err := newCertificates(Certificate{Name: "cn", CRL: written(t, tt.lists)}, new(reload.Watcher), c.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := asked(t, v, &Credentials{Certificates: tt.shown}); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestRevocationListErrors(t *testing.T) {
	c := newClock()
	list := newAuthority(t, c, "ca", "P-256").list(t, c.now())
	for text, says := range map[string]string{
		"":          "contains no PEM block",
		list + list: "block 2: a second list",
		list + string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("no")})): "block 2: ",
	} {
		if _, err := parseRevocationLists([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%.40q: %v, want %s...", text, err, says)
		}
	}
}
