package auth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/longline/longline/internal/reload"
)

// A credential that takes time to verify is proven once it was accepted, for the same device only.
func TestChainKnowsWhatItAccepted(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}") }))
	t.Cleanup(service.Close)
	chain := opened(t, Config{Order: []string{"webhook"}, Webhook: Webhook{URL: service.URL}, RememberProven: true}, new(reload.Watcher), newClock())
	good := Credentials{Device: "m-1", Bearer: "good"}
	if chain.Proves(&good) {
		t.Error("it is known before anybody was asked")
	}
	if _, err := chain.Verify(t.Context(), &good); err != nil {
		t.Fatal(err)
	}
	if !chain.Proves(&good) {
		t.Error("it is not known again")
	}
	for _, c := range []Credentials{
		{Device: "m-2", Bearer: "good"}, {Device: "m-1", Bearer: "bad"}, {Device: "m-1"},
		{Device: "m-1", Username: "good", HasBasic: true}, {Device: "m-1g", Bearer: "ood"},
	} {
		if chain.Proves(&c) {
			t.Errorf("%+v is known", c)
		}
	}
}

func TestChainForgetsWhatItNeedNotKnow(t *testing.T) {
	chain := chained(t, newClock(), fixed{identity: &Identity{Device: "m-7"}})
	chain.links[0].slow = true
	if asked(t, chain, &Credentials{Device: "m-7"}); chain.Proves(&Credentials{Device: "m-7"}) {
		t.Error("it is remembered where nothing is paced")
	}
}

// However many credentials are accepted, only a bounded number is remembered, the latest ones.
func TestProvenIsBounded(t *testing.T) {
	p := newProven()
	p.young = make(map[uint64]struct{})
	for i := range uint64(mostProven) {
		p.young[i] = struct{}{}
	}
	first, second := &Credentials{Device: "a"}, &Credentials{Device: "b"}
	p.add(first)
	if len(p.young) != 1 || len(p.old) != mostProven || !p.has(first) || p.has(second) {
		t.Errorf("%d and %d are remembered", len(p.young), len(p.old))
	}
}

// Passwords that were refused unverified, because their address guesses, are counted as such.
func TestChainCountsGuesses(t *testing.T) {
	users := written(t, userLine(t, "a", password))
	chain := opened(t, Config{Order: []string{"basic"}, Basic: Basic{File: users}}, new(reload.Watcher), newClock())
	for range maxWrong + 2 {
		asked(t, chain, basicFrom("192.0.2.1", "a", another))
	}
	if got := chain.Stats()[0]; got.Refused != maxWrong || got.Guessing != 2 || got.Unavailable != 0 {
		t.Errorf("%+v", got)
	}
}
