package auth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
)

// fixed is a Verifier with one answer.
type fixed struct {
	identity *Identity
	err      error
}

func (f fixed) Verify(context.Context, *Credentials) (*Identity, error) { return f.identity, f.err }

// chained returns a chain of fixed answers, under the names 0, 1, ...
func chained(t *testing.T, c *clock, answers ...fixed) *Chain {
	chain := opened(t, Config{MaxRevocations: 10}, new(reload.Watcher), c)
	for i, a := range answers {
		chain.links = append(chain.links, &link{method: string(rune('0' + i)), Verifier: a})
	}
	return chain
}

func TestChainAsksInOrder(t *testing.T) {
	pass := fixed{err: ErrNotMine}
	no := fixed{err: &Refusal{Reason: "wrong"}}
	down := fixed{err: ErrUnavailable}
	yes := fixed{identity: &Identity{Device: "m-7"}}
	other := fixed{identity: &Identity{Device: "m-8"}}
	for _, tt := range []struct {
		name    string
		answers []fixed
		shown   Credentials
		want    string
		method  string
	}{
		{"first", []fixed{yes, other}, Credentials{}, "m-7", "0"},
		{"second", []fixed{pass, yes}, Credentials{}, "m-7", "1"},
		{"refusal is final", []fixed{no, yes}, Credentials{}, "refused: wrong", ""},
		{"failing is closed", []fixed{down, yes}, Credentials{}, "unavailable", ""},
		{"nobody knows", []fixed{pass, pass}, Credentials{Bearer: "x"}, "refused: the credential is not known", ""},
		{"nothing shown", []fixed{pass}, Credentials{Device: "m-7"}, "refused: no credential was shown", ""},
		{"no verifier", nil, Credentials{Device: "m-7"}, "refused: no credential was shown", ""},
		{"claimed", []fixed{yes}, Credentials{Device: "m-7"}, "m-7", "0"},
		{"claimed another", []fixed{yes}, Credentials{Device: "m-8"}, "refused: the credential belongs to another device", ""},
		{"no id", []fixed{{identity: &Identity{Device: strings.Repeat("x", 129)}}}, Credentials{}, "refused: the device id is longer than 128 bytes", ""},
	} {
		chain := chained(t, newClock(), tt.answers...)
		i, err := chain.Verify(t.Context(), &tt.shown)
		if got := says(i, err); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		var refusal *Refusal
		if errors.As(err, &refusal) && refusal.Forbidden != (tt.name == "claimed another") {
			t.Errorf("%s: forbidden is %v", tt.name, refusal.Forbidden)
		}
		if err == nil && (i.Method != tt.method || i.Permissions != chain.permissions) {
			t.Errorf("%s: got %+v", tt.name, i)
		}
	}
	if yes.identity.Method != "" || yes.identity.Permissions != nil {
		t.Error("what the verifier keeps was changed")
	}
}

func TestChainKeepsPermissions(t *testing.T) {
	own := new(Permissions)
	chain := chained(t, newClock(), fixed{identity: &Identity{Device: "m-7", Permissions: own}})
	i, err := chain.Verify(t.Context(), &Credentials{})
	if err != nil || i.Permissions != own || i.MayPublish("device/m-7/up") || i.MaySubscribe("broadcast/x") {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestChainRevokes(t *testing.T) {
	c := newClock()
	chain := chained(t, c, fixed{identity: &Identity{Device: "m-7", ID: "jti-1", Expires: c.now().Add(time.Hour)}})
	verify := func() string { return says(chain.Verify(t.Context(), &Credentials{})) }
	const revoked, expired = "refused: the credential is revoked", "refused: the credential has expired"
	for _, name := range []Bearer{{Device: "m-7"}, {Credential: "jti-1"}} {
		if err := chain.Revoke(name, c.now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if got := verify(); got != revoked {
			t.Errorf("%v is revoked: %s", name, got)
		}
		c.pass(time.Minute)
		if got := verify(); got != "m-7" {
			t.Errorf("%v is no longer revoked: %s", name, got)
		}
	}
	c.pass(58 * time.Minute)
	if got := verify(); got != expired {
		t.Errorf("at its end: %s", got)
	}
}

func TestChainCounts(t *testing.T) {
	chain := chained(t, newClock(), fixed{err: ErrNotMine}, fixed{err: &Refusal{}})
	asked(t, chain, &Credentials{})
	chain.links[1].Verifier = fixed{err: ErrUnavailable}
	asked(t, chain, &Credentials{})
	chain.links[0].Verifier = fixed{identity: &Identity{Device: "m-7"}}
	asked(t, chain, &Credentials{})
	asked(t, chain, &Credentials{Device: "m-8"})
	for _, l := range chain.links {
		l.Verifier = fixed{err: ErrNotMine}
	}
	asked(t, chain, &Credentials{Bearer: "guessed"})
	want := []Stats{
		{Method: "0", Accepted: 1, Refused: 1}, {Method: "1", Refused: 1, Unavailable: 1}, {Method: "none", Refused: 1},
	}
	if got := chain.Stats(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRevocationsForgetNoneInForce(t *testing.T) {
	c := newClock()
	r := NewRevocations(2, c.now)
	in := func(d time.Duration) time.Time { return c.now().Add(d) }
	for name, err := range map[string]error{
		"a":               r.Revoke(Bearer{Device: "a"}, in(time.Minute)),
		"b":               r.Revoke(Bearer{Device: "b"}, in(time.Hour)),
		"a again, longer": r.Revoke(Bearer{Device: "a"}, in(2*time.Minute)),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.Revoke(Bearer{Device: "c"}, in(time.Hour)); !errors.Is(err, ErrRevocationsFull) || r.Has(Bearer{Device: "c"}) || !r.Has(Bearer{Device: "a"}) || !r.Has(Bearer{Device: "b"}) {
		t.Errorf("a third of two: %v", err)
	}
	c.pass(2 * time.Minute)
	if err := r.Revoke(Bearer{Device: "c"}, in(time.Hour)); err != nil || !r.Has(Bearer{Device: "c"}) || r.Has(Bearer{Device: "a"}) || !r.Has(Bearer{Device: "b"}) {
		t.Errorf("after one has passed: %v", err)
	}
	if err := r.Revoke(Bearer{Device: "b"}, c.now()); err != nil || r.Has(Bearer{Device: "b"}) || len(r.until) != 1 {
		t.Errorf("lifting: %v, %d remain", err, len(r.until))
	}
}

// VerifyNow asks the methods in order, and returns ErrSlow at the first slow one that it comes to.
func TestVerifyNow(t *testing.T) {
	file := written(t, "m-7 "+hashed("known")+"\n")
	users := written(t, "")
	for _, tt := range []struct {
		order []string
		shown Credentials
		want  string
	}{
		{[]string{"tokens"}, Credentials{Bearer: "known"}, "m-7"},
		{[]string{"tokens"}, Credentials{Bearer: "other"}, "refused: the credential is not known"},
		{[]string{"tokens", "basic"}, Credentials{Bearer: "known"}, "m-7"},
		{[]string{"tokens", "basic"}, Credentials{Bearer: "other"}, "slow"},
		{[]string{"basic", "tokens"}, Credentials{Bearer: "known"}, "slow"},
	} {
		config := Config{Order: tt.order, Tokens: Tokens{File: file}, Basic: Basic{File: users}}
		i, err := opened(t, config, new(reload.Watcher), newClock()).VerifyNow(&tt.shown)
		got := "slow"
		if !errors.Is(err, ErrSlow) {
			got = says(i, err)
		}
		if got != tt.want {
			t.Errorf("%v: %s, want %s", tt.order, got, tt.want)
		}
	}
}

func TestSlowMethods(t *testing.T) {
	crl := Config{Certificate: Certificate{CRL: "list.pem"}}
	for method, want := range map[string]bool{"tokens": false, "certificate": false, "insecure": false, "basic": true, "jwt": true, "webhook": true} {
		if got := new(Config).slow(method); got != want {
			t.Errorf("%s: %v", method, got)
		}
	}
	if !crl.slow("certificate") {
		t.Error("the signature of a revocation list is verified")
	}
}
