package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
)

// openUsers returns the users a and b, with one password.
func openUsers(t *testing.T, now func() time.Time) *users {
	t.Helper()
	u, err := newUsers(Basic{File: written(t, userLine(t, "a", password)+userLine(t, "b", password))}.WithDefaults(), new(reload.Watcher), now)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func basicFrom(addr, user, password string) *Credentials {
	return &Credentials{HasBasic: true, Username: user, Password: password, Remote: netip.MustParseAddr(addr)}
}

// An address that guesses is refused before anything is hashed. Devices there that were accepted before are still
// accepted, and so are other addresses.
func TestGuessesOfAnAddress(t *testing.T) {
	c := newClock()
	u := openUsers(t, c.now)
	verify := func(addr, user, password string) error {
		_, err := u.Verify(t.Context(), basicFrom(addr, user, password))
		return err
	}
	if err := verify("192.0.2.1", "a", password); err != nil {
		t.Fatal(err)
	}
	for i := range maxWrong {
		if err := verify("192.0.2.1", fmt.Sprint("guess-", i), another); err == nil || !strings.Contains(err.Error(), "wrong user or password") {
			t.Fatal(err)
		}
	}
	if err := verify("192.0.2.1", "b", password); err == nil || !strings.Contains(err.Error(), "too many wrong passwords") {
		t.Errorf("another: %v", err)
	}
	if err := verify("192.0.2.1", "a", password); err != nil {
		t.Errorf("who was accepted before: %v", err)
	}
	if err := verify("192.0.2.2", "b", password); err != nil {
		t.Errorf("another address: %v", err)
	}
	c.pass(guessWindow)
	if err := verify("192.0.2.1", "b", another); err == nil || !strings.Contains(err.Error(), "wrong user or password") {
		t.Errorf("after a while: %v", err)
	}
}

// However many passwords arrive, few are hashed at a time, and a bounded number waits.
func TestHashingIsBounded(t *testing.T) {
	h := newHasher()
	for range cap(h.running) {
		h.running <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	for range cap(h.waiting) + 1 {
		go func() {
			_, err := h.compare(ctx, nil, "x")
			errs <- err
		}()
	}
	if err := <-errs; !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "waiting to be verified") {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for range cap(h.waiting) {
		if err := <-errs; !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	}
}

func TestGuessersAreBounded(t *testing.T) {
	g := guesses{now: time.Now}
	for i := range maxGuessers + 100 {
		g.note(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(g.wrong) != maxGuessers {
		t.Errorf("%d addresses are remembered", len(g.wrong))
	}
}
