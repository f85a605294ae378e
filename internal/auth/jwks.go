package auth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/longline/longline/internal/limit"
)

// unknownEvery is the least time between two fetches for keys that are not in the set.
const unknownEvery = 30 * time.Second

// keySet is a JWK Set (RFC 7517) at a URL. It is fetched in the background from the start,
// periodically, and when a token needs a key that is not in it. The URL need not answer at
// the start: until it does, there are no keys and no device is admitted.
type keySet struct {
	// Static after construction.
	stored  *storedKeys
	find    keyfunc.Keyfunc // looks up a key in stored
	fetcher *fetcher
	unknown *rate.Limiter // limits fetches for keys that are not in stored
	fetched chan struct{} // closed when the first fetch has ended, successful or not

	// Static after fetched is closed.
	remote jwkset.Storage // fetches the set when a key that it is asked for is not in stored
	err    error          // why remote is nil
}

// storedKeys are the keys of the last successful fetch.
type storedKeys struct {
	jwkset.Storage
	stale atomic.Bool // the last fetch failed
}

// KeyReplaceAll stores the keys of a successful fetch.
func (s *storedKeys) KeyReplaceAll(ctx context.Context, keys []jwkset.JWK) error {
	s.stale.Store(false)
	return s.Storage.KeyReplaceAll(ctx, keys)
}

func newKeySet(ctx context.Context, config JWT) (*keySet, error) {
	stored := &storedKeys{Storage: jwkset.NewMemoryStorage()}
	find, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: stored})
	if err != nil {
		return nil, err
	}
	k := &keySet{
		stored:  stored,
		find:    find,
		fetcher: newFetcher(ctx),
		unknown: rate.NewLimiter(rate.Every(unknownEvery), 1),
		fetched: make(chan struct{}),
	}
	go func() {
		defer close(k.fetched)
		k.remote, k.err = k.fetch(ctx, config)
	}()
	return k, nil
}

// fetch makes the storage that fetches the set until ctx is done. It waits for the first fetch.
func (k *keySet) fetch(ctx context.Context, config JWT) (jwkset.Storage, error) {
	remote, err := jwkset.NewStorageFromHTTP(config.JWKS, jwkset.HTTPClientStorageOptions{
		Client:                    &http.Client{Transport: k.fetcher},
		Ctx:                       ctx,
		HTTPTimeout:               config.Timeout,
		NoErrorReturnFirstHTTPReq: true,
		RefreshInterval:           config.Refresh,
		RefreshErrorHandler: func(_ context.Context, err error) {
			k.stored.stale.Store(true)
			slog.Error("the JWK Set cannot be fetched; the previous keys stay in use", "url", config.JWKS, "error", err)
		},
		Storage: k.stored,
	})
	if err != nil {
		return nil, err
	}
	return jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{config.JWKS: remote},
		RefreshUnknownKID: rate.NewLimiter(rate.Inf, 0), // k.unknown limits these fetches
		RateLimitWaitMax:  config.Timeout,
	})
}

func (k *keySet) breakers() []*limit.Breaker { return []*limit.Breaker{k.fetcher.breaker} }

// ready waits for the first fetch, at most until ctx ends.
func (k *keySet) ready(ctx context.Context) error {
	select {
	case <-k.fetched:
		return k.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keys returns the key of a token. It refuses a token whose key is not in the set; if the set could not be
// fetched, the key may be in it, and the error is ErrUnavailable.
func (k *keySet) keys(ctx context.Context, t *jwt.Token) (any, error) {
	if err := k.ready(ctx); err != nil {
		return nil, fmt.Errorf("%w: the JWK Set has not been fetched yet: %w", ErrUnavailable, err)
	}
	if err := k.seek(ctx, t); err != nil {
		return nil, err
	}
	found, err := k.find.KeyfuncCtx(ctx)(t)
	all, whole := found.(jwt.VerificationKeySet) // when the token names no key
	all.Keys = slices.DeleteFunc(all.Keys, func(key jwt.VerificationKey) bool { return usable(key) != nil })
	missing := err != nil || whole && len(all.Keys) == 0
	switch {
	case missing && (k.stored.stale.Load() || ctx.Err() != nil):
		return nil, fmt.Errorf("%w: the JWK Set cannot be fetched", ErrUnavailable)
	case missing:
		return nil, refuse("the token's key is unknown")
	case whole:
		return all, nil
	case usable(found) != nil:
		return nil, refuse("the token's key is too weak or of an unknown type")
	}
	return found, nil
}

// seek fetches the set if the token's key is not in it, or, for a token that names no key, if the set is empty.
// The error is ErrUnavailable: the set was fetched for another token a short while ago.
func (k *keySet) seek(ctx context.Context, t *jwt.Token) error {
	kid, _ := t.Header[jwkset.HeaderKID].(string)
	_, named := t.Header[jwkset.HeaderKID]
	if k.has(ctx, kid, named) {
		return nil
	}
	if !k.unknown.Allow() {
		return fmt.Errorf("%w: the JWK Set was fetched a short while ago", ErrUnavailable)
	}
	_, _ = k.remote.KeyRead(ctx, kid) // the keys that it fetches are in stored
	return nil
}

// has reports whether a key is in stored; for a token that names none, whether any is.
func (k *keySet) has(ctx context.Context, kid string, named bool) bool {
	if named {
		_, err := k.stored.KeyRead(ctx, kid)
		return err == nil
	}
	all, err := k.stored.KeyReadAll(ctx)
	return err == nil && len(all) > 0
}
