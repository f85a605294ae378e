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

// Hashing a password takes tens of milliseconds of a processor, by design. So that guesses do not take the
// processors from connected devices, passwords are hashed on at most half of the processors, a bounded number waits
// for that, and an address that sent many wrong passwords is refused without hashing. A password that was
// accepted before is not hashed again (user.known), so devices that reconnect are not delayed.

const (
	maxWrong     = 20          // wrong passwords per address and guessWindow
	guessWindow  = time.Minute // after which they are forgotten
	maxGuessers  = 10_000      // addresses remembered at a time
	maxHashQueue = 16          // passwords that wait to be hashed
)

// errGuessing refuses an address that sent too many wrong passwords; this one may be right.
var errGuessing = fmt.Errorf("%w: too many wrong passwords from this address", ErrUnavailable)

// hasher hashes passwords. Safe from any goroutine.
type hasher struct {
	running chan struct{} // one token per password that is being hashed
	waiting chan struct{} // one token per password that waits or is being hashed
}

func newHasher() *hasher {
	n := max(1, runtime.GOMAXPROCS(0)/2)
	return &hasher{make(chan struct{}, n), make(chan struct{}, n+maxHashQueue)}
}

// compare reports whether password matches hash. An error says that too many passwords are ahead of it.
func (h *hasher) compare(ctx context.Context, hash []byte, password string) (bool, error) {
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default:
		return false, fmt.Errorf("%w: too many passwords are waiting to be verified", ErrUnavailable)
	}
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-ctx.Done():
		return false, fmt.Errorf("%w: the password waited too long to be verified", ErrUnavailable)
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil, nil
}

// guesses counts the wrong passwords per address. Safe from any goroutine.
type guesses struct {
	now func() time.Time

	// Guarded by mu.
	mu    sync.Mutex
	wrong map[limit.Source]int
	since time.Time
}

// tooMany reports whether too many wrong passwords came from an address.
func (g *guesses) tooMany(from netip.Addr) bool {
	if !from.IsValid() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget()
	return g.wrong[limit.SourceOf(from)] >= maxWrong
}

// note counts a wrong password. It ignores further addresses when too many are remembered: then only the bound
// on concurrent hashing protects the node.
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

// forget resets the counts when the window is over. g is locked.
func (g *guesses) forget() {
	if now := g.now(); g.wrong == nil || now.Sub(g.since) >= guessWindow {
		g.wrong, g.since = make(map[limit.Source]int), now
	}
}
