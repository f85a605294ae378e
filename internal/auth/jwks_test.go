package auth

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/reload"
)

// keyServer serves a JWK Set, or another response that a test sets.
type keyServer struct {
	*httptest.Server
	fetched atomic.Int32
	handler atomic.Pointer[http.HandlerFunc]
}

func newKeyServer(t *testing.T, first http.HandlerFunc) *keyServer {
	s := new(keyServer)
	s.handler.Store(&first)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetched.Add(1)
		(*s.handler.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) serve(h http.HandlerFunc) { s.handler.Store(&h) }

// set makes the server answer with public keys under ids.
func set(t *testing.T, ids map[string]crypto.Signer) http.HandlerFunc {
	t.Helper()
	var all jwkset.JWKSMarshal
	for id, key := range ids {
		k, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: id}})
		if err != nil {
			t.Fatal(err)
		}
		all.Keys = append(all.Keys, k.Marshal())
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) { reply(t, w, string(text)) }
}

func down(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }

func keySetVerifier(t *testing.T, s *keyServer, c *clock) *Chain {
	return opened(t, Config{Order: []string{"jwt"}, JWT: JWT{JWKS: s.URL}}, new(reload.Watcher), c)
}

func TestJWKSFetchesWhenAKeyIsUnknown(t *testing.T) {
	c := newClock()
	s := newKeyServer(t, set(t, map[string]crypto.Signer{"old": keys()["RSA"]}))
	v := keySetVerifier(t, s, c)
	old := signed(t, c, "RS256", keys()["RSA"], jwt.MapClaims{"kid": "old"})
	young := signed(t, c, "ES256", keys()["P-256"], jwt.MapClaims{"kid": "new"})
	if got := asked(t, v, &Credentials{Bearer: old}); got != "m-7" || s.fetched.Load() != 1 {
		t.Errorf("the old key: %s, fetched %d times", got, s.fetched.Load())
	}
	s.serve(set(t, map[string]crypto.Signer{"new": keys()["P-256"]}))
	if got := asked(t, v, &Credentials{Bearer: young}); got != "m-7" || s.fetched.Load() != 2 {
		t.Errorf("the new key: %s, fetched %d times", got, s.fetched.Load())
	}
	if got := asked(t, v, &Credentials{Bearer: old}); got != "unavailable" {
		t.Errorf("the old key, taken out: %s", got)
	}
	if s.fetched.Load() != 2 {
		t.Errorf("%d fetches: unknown keys have the set fetched as often as they like", s.fetched.Load())
	}
	if got := asked(t, v, &Credentials{Bearer: signed(t, c, "ES256", keys()["P-256"], nil)}); got != "m-7" {
		t.Errorf("a token that names no key: %s", got)
	}
	if got := asked(t, v, &Credentials{Bearer: signed(t, c, "RS256", keys()["RSA"], jwt.MapClaims{"kid": "new"})}); got != "refused: the token's signature or algorithm is not accepted" {
		t.Errorf("a token that names another's key: %s", got)
	}
}

func TestJWKSFailsClosed(t *testing.T) {
	for name, broken := range map[string]http.HandlerFunc{
		"down":    down,
		"garbage": func(w http.ResponseWriter, _ *http.Request) { reply(t, w, "<html>") },
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"keys":[]`+strings.Repeat(" ", maxKeySet)+"}") // no client reads it to the end
		},
		"elsewhere": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) },
	} {
		c := newClock()
		s := newKeyServer(t, broken)
		v := keySetVerifier(t, s, c)
		named := &Credentials{Bearer: signed(t, c, "RS256", keys()["RSA"], jwt.MapClaims{"kid": "k"})}
		plain := &Credentials{Bearer: signed(t, c, "RS256", keys()["RSA"], nil)}
		if got := asked(t, v, plain); got != "unavailable" {
			t.Errorf("%s: a token that names no key: %s", name, got)
		}
		if got := asked(t, v, named); got != "unavailable" || s.fetched.Load() != 2 {
			t.Errorf("%s: a token that names a key: %s, fetched %d times", name, got, s.fetched.Load())
		}
	}
}

func TestJWKSKeepsKeysWhileDown(t *testing.T) {
	c := newClock()
	s := newKeyServer(t, set(t, map[string]crypto.Signer{"k": keys()["Ed25519"]}))
	v := keySetVerifier(t, s, c)
	known := &Credentials{Bearer: signed(t, c, "EdDSA", keys()["Ed25519"], jwt.MapClaims{"kid": "k"})}
	if got := asked(t, v, known); got != "m-7" {
		t.Errorf("before: %s", got)
	}
	s.serve(down)
	if got := asked(t, v, &Credentials{Bearer: signed(t, c, "EdDSA", keys()["Ed25519"], jwt.MapClaims{"kid": "new"})}); got != "unavailable" {
		t.Errorf("a new key: %s", got)
	}
	if got := asked(t, v, known); got != "m-7" {
		t.Errorf("a key of before: %s", got)
	}
}

// TestJWKSDoesNotHoldUpTheStart uses a server that is silent until the test lets it answer.
func TestJWKSDoesNotHoldUpTheStart(t *testing.T) {
	c := newClock()
	answer, here := set(t, map[string]crypto.Signer{"k": keys()["Ed25519"]}), make(chan struct{})
	s := newKeyServer(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-here:
			answer(w, r)
		case <-r.Context().Done():
		}
	})
	v := keySetVerifier(t, s, c)
	token := &Credentials{Bearer: signed(t, c, "EdDSA", keys()["Ed25519"], nil)}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if got := says(v.Verify(late, token)); got != "unavailable" || v.Stats()[0].Unavailable != 1 {
		t.Errorf("before the keys are there: %s, %+v", got, v.Stats())
	}
	close(here)
	if got := asked(t, v, token); got != "m-7" || s.fetched.Load() != 1 {
		t.Errorf("once they are: %s, fetched %d times", got, s.fetched.Load())
	}
}

func TestFetcherOpens(t *testing.T) {
	s := newKeyServer(t, down)
	f := newFetcher(t.Context())
	client := &http.Client{Transport: f}
	for range 2 * fetchFailures {
		if response, err := client.Get(s.URL); err == nil {
			response.Body.Close()
			t.Error("no error")
		}
	}
	if got := f.breaker.State(); got != "open" || s.fetched.Load() != fetchFailures {
		t.Errorf("%s after %d fetches", got, s.fetched.Load())
	}
}

// TestJWKSRefusesNobodyUnasked uses a key that was added to the set after its fetch, while the set may not
// be fetched again yet: a device with that key is told to retry, not refused.
func TestJWKSRefusesNobodyUnasked(t *testing.T) {
	c := newClock()
	s := newKeyServer(t, set(t, map[string]crypto.Signer{"old": keys()["RSA"]}))
	v := keySetVerifier(t, s, c)
	wrong := signed(t, c, "RS256", keys()["RSA"], jwt.MapClaims{"kid": "wrong"})
	if got := asked(t, v, &Credentials{Bearer: wrong}); got != "refused: the token's key is unknown" || s.fetched.Load() != 2 {
		t.Errorf("a key that the set does not have: %s, fetched %d times", got, s.fetched.Load())
	}
	s.serve(set(t, map[string]crypto.Signer{"new": keys()["P-256"]}))
	young := signed(t, c, "ES256", keys()["P-256"], jwt.MapClaims{"kid": "new"})
	if got := asked(t, v, &Credentials{Bearer: young}); got != "unavailable" || s.fetched.Load() != 2 {
		t.Errorf("a key that it has by now: %s, fetched %d times", got, s.fetched.Load())
	}
}

// TestJWKSComesBack uses a server that is down at the start, and tokens that name no key.
func TestJWKSComesBack(t *testing.T) {
	c := newClock()
	s := newKeyServer(t, down)
	v := keySetVerifier(t, s, c)
	<-v.links[0].Verifier.(*jwtVerifier).source.(*keySet).fetched
	s.serve(set(t, map[string]crypto.Signer{"k": keys()["P-256"]}))
	if got := asked(t, v, &Credentials{Bearer: signed(t, c, "ES256", keys()["P-256"], nil)}); got != "m-7" {
		t.Errorf("once it is up: %s", got)
	}
}

// TestJWKSWeakKeys uses a key that is too short.
func TestJWKSWeakKeys(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // allows generating it
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	c := newClock()
	v := keySetVerifier(t, newKeyServer(t, set(t, map[string]crypto.Signer{"weak": weak, "good": keys()["P-256"]})), c)
	for kid, want := range map[any]string{
		"weak": "refused: the token's key is too weak or of an unknown type",
		nil:    "refused: the token's signature or algorithm is not accepted",
	} {
		if got := asked(t, v, &Credentials{Bearer: signed(t, c, "RS256", weak, jwt.MapClaims{"kid": kid})}); got != want {
			t.Errorf("a token that names %v: %s, want %s", kid, got, want)
		}
	}
	if got := asked(t, v, &Credentials{Bearer: signed(t, c, "ES256", keys()["P-256"], nil)}); got != "m-7" {
		t.Errorf("a good key beside it: %s", got)
	}
}
