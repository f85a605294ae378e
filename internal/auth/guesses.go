package auth

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/longline/longline/internal/limit"
)

// To hash a password takes tens of milliseconds of a processor, by design. Whoever guesses is not to take the
// processors from the devices that are connected: half of them hash at the most, a bounded number waits for that,
// and an address from which many wrong passwords came is refused before anything is hashed. A password that was
// accepted before needs no hashing (user.known), so devices that come back are not held up.

const (
	maxWrong     = 20          // wrong passwords of one address in guessWindow
	guessWindow  = time.Minute // after which they are forgotten
	maxGuessers  = 10_000      // addresses that are remembered at a time
	maxHashQueue = 16          // passwords that wait to be hashed
)

// errGuessing refuses whom an address that guesses sends; the password may be right.
var errGuessing = fmt.Errorf("%w: too many wrong passwords came from the address", ErrUnavailable)

// hasher hashes passwords. Safe from any goroutine.
type hasher struct {
	running chan struct{} // holds a token for each that is hashed
	waiting chan struct{} // and for each that waits or is hashed
}

func newHasher() *hasher {
	n := max(1, runtime.GOMAXPROCS(0)/2)
	return &hasher{make(chan struct{}, n), make(chan struct{}, n+maxHashQueue)}
}

// compare reports whether a password is that of a hash. An error says that there is no time to find out.
func (h *hasher) compare(ctx context.Context, hash []byte, password string) (bool, error) {
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default:
		return false, fmt.Errorf("%w: too many passwords wait to be looked at", ErrUnavailable)
	}
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-ctx.Done():
		return false, fmt.Errorf("%w: too many passwords are being looked at", ErrUnavailable)
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil, nil
}

// guesses counts the wrong passwords of each address. Safe from any goroutine.
type guesses struct {
	now func() time.Time

	// Guarded by mu.
	mu    sync.Mutex
	wrong map[limit.Source]int
	since time.Time
}

// tooMany reports whether an address has guessed wrong too often.
func (g *guesses) tooMany(from netip.Addr) bool {
	if !from.IsValid() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget()
	return g.wrong[limit.SourceOf(from)] >= maxWrong
}

// note counts a wrong password. When too many addresses are remembered, it is not counted: then the bound of those
// that are hashed is what protects.
func (g *guesses) note(from netip.Addr) {
	if !from.IsValid() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget()
	source := limit.SourceOf(from)
	if _, known := g.wrong[source]; known || len(g.wrong) < maxGuessers {
		g.wrong[source]++
	}
}

// forget begins anew when the window is over. g is locked.
func (g *guesses) forget() {
	if now := g.now(); g.wrong == nil || now.Sub(g.since) >= guessWindow {
		g.wrong, g.since = make(map[limit.Source]int), now
	}
}
