package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/reload"
)

// clock is a time that the test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// written writes a file and returns its name.
func written(t testing.TB, text string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "file")
	rewrite(t, name, text)
	return name
}

func rewrite(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// hashed returns a token as files contain it.
func hashed(token string) string {
	d := digestOf(token)
	return "sha256:" + hex.EncodeToString(d[:])
}

// opened returns a chain that is closed when the test ends.
func opened(t testing.TB, config Config, w *reload.Watcher, c *clock) *Chain {
	t.Helper()
	chain, err := open(config, w, c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)
	return chain
}

// keys are generated once, because RSA keys take time.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	all := make(map[string]crypto.Signer)
	var errs [5]error
	all["RSA"], errs[0] = rsa.GenerateKey(rand.Reader, 2048)
	all["P-256"], errs[1] = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	all["P-384"], errs[2] = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	all["P-521"], errs[3] = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	_, all["Ed25519"], errs[4] = ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(errs[:]...); err != nil {
		panic(err)
	}
	return all
})

// publicPEM returns the public halves of keys as a PEM file.
func publicPEM(t testing.TB, names ...string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range names {
		der, err := x509.MarshalPKIXPublicKey(keys()[name].Public())
		if err != nil {
			t.Fatal(err)
		}
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	return b.String()
}

// signed returns a JWT of device m-7, valid for an hour from c on, with changed claims; nil removes a
// claim.
func signed(t testing.TB, c *clock, method string, key any, changes jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": "m-7", "exp": c.now().Add(time.Hour).Unix()}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	token := jwt.NewWithClaims(jwt.GetSigningMethod(method), claims)
	if kid, ok := claims["kid"]; ok { // a field of the header
		token.Header["kid"] = kid
		delete(claims, "kid")
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// reply is a response that a test's server writes.
func reply(t testing.TB, w io.Writer, text string) {
	if _, err := io.WriteString(w, text); err != nil {
		t.Errorf("the peer did not wait for its answer: %v", err)
	}
}

// says describes an answer: the device, or the kind of error and its reason.
func says(i *Identity, err error) string {
	var refusal *Refusal
	switch {
	case err == nil:
		return i.Device
	case errors.Is(err, ErrNotMine):
		return "not mine"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	case errors.As(err, &refusal):
		return refusal.Error()
	}
	return "another error: " + err.Error()
}

// asked describes the answer of a verifier.
func asked(t testing.TB, v Verifier, c *Credentials) string {
	t.Helper()
	return says(v.Verify(context.Background(), c))
}
