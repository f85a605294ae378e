package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/topic"
)

// FuzzPEM checks that parsing any PEM file returns no unusable list or key.
func FuzzPEM(f *testing.F) {
	c := newClock()
	f.Add([]byte(publicPEM(f, "RSA", "P-256", "Ed25519")))
	f.Add([]byte(newAuthority(f, c, "ca", "P-256").list(f, c.now().Add(time.Hour), 1, 2, 3)))
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		found, err := parsePublicKeys(text)
		for _, key := range found {
			switch k := key.(type) {
			case *ecdsa.PublicKey, ed25519.PublicKey:
			case *rsa.PublicKey:
				if k.N.BitLen() < 2048 {
					t.Fatalf("an RSA key of %d bits", k.N.BitLen())
				}
			default:
				t.Fatalf("a %T, error %v", key, err)
			}
		}
		lists, err := parseRevocationLists(text)
		if (err == nil) != (len(lists) > 0) {
			t.Fatalf("%d lists, error %v", len(lists), err)
		}
	})
}

// FuzzAnswer checks any answer of a service.
func FuzzAnswer(f *testing.F) {
	f.Add(200, `{"device":"m-7","expires":"2040-01-02T03:04:05Z","permissions":{"publish":["{device}/#"],"subscribe":[]}}`)
	f.Add(200, `{"permissions":{"publish":["#/#"]}}`)
	f.Add(200, `null`)
	f.Add(401, `{"reason":"\u0000no\r\n"}`)
	f.Add(500, ``)
	f.Fuzz(func(t *testing.T, status int, text string) {
		i, err := readAnswer(status, []byte(text), "m-7")
		got := says(i, err)
		reason, refused := strings.CutPrefix(got, "refused: ")
		switch {
		case refused != (status == 401 || status == 403), err == nil && status != 200:
			t.Fatalf("status %d: %s", status, got)
		case refused && (reason == "" || len(reason) > 100 || strings.ContainsFunc(reason, func(r rune) bool { return r < ' ' || r > '~' })):
			t.Fatalf("reason %q", reason)
		case err == nil && i.Permissions != nil:
			for _, r := range append(i.Permissions.publish, i.Permissions.subscribe...) {
				if topic.ValidateFilter(r.filter, topic.Limits{}) != nil {
					t.Fatalf("filter %q", r.filter)
				}
			}
		}
	})
}
