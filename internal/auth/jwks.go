package auth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/longline/longline/internal/limit"
)

// unknownEvery is how often a token with an unknown key may have the set fetched.
const unknownEvery = 30 * time.Second

// keySet is a JWK Set (RFC 7517) of a URL. It is fetched in the background from the start on,
// from time to time, and when a token names a key that is not in it. It need not be there at
// the start: until it is, there are no keys and nobody is let in.
type keySet struct {
	// Static after construction.
	stored  *storedKeys
	fetcher *fetcher
	fetched chan struct{} // closed when the first fetch has ended, good or not

	// Static after fetched is closed.
	find keyfunc.Keyfunc
	err  error // why there is no find
}

// storedKeys are those of the last fetch that was good.
type storedKeys struct {
	jwkset.Storage
	stale atomic.Bool // the last fetch was not good
}

// KeyReplaceAll is called with what a good fetch has brought.
func (s *storedKeys) KeyReplaceAll(ctx context.Context, keys []jwkset.JWK) error {
	s.stale.Store(false)
	return s.Storage.KeyReplaceAll(ctx, keys)
}

func newKeySet(ctx context.Context, config JWT) *keySet {
	k := &keySet{
		stored:  &storedKeys{Storage: jwkset.NewMemoryStorage()},
		fetcher: newFetcher(ctx),
		fetched: make(chan struct{}),
	}
	go func() {
		defer close(k.fetched)
		k.find, k.err = k.fetch(ctx, config)
	}()
	return k
}

// fetch waits for the first fetch, and has the set fetched again until ctx is done.
func (k *keySet) fetch(ctx context.Context, config JWT) (keyfunc.Keyfunc, error) {
	remote, err := jwkset.NewStorageFromHTTP(config.JWKS, jwkset.HTTPClientStorageOptions{
		Client:                    &http.Client{Transport: k.fetcher},
		Ctx:                       ctx,
		HTTPTimeout:               config.Timeout,
		NoErrorReturnFirstHTTPReq: true,
		RefreshInterval:           config.Refresh,
		RefreshErrorHandler: func(_ context.Context, err error) {
			k.stored.stale.Store(true)
			slog.Error("the JWK Set cannot be fetched; the keys from before stay", "url", config.JWKS, "error", err)
		},
		Storage: k.stored,
	})
	if err != nil {
		return nil, err
	}
	storage, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{config.JWKS: remote},
		RefreshUnknownKID: rate.NewLimiter(rate.Every(unknownEvery), 1),
		RateLimitWaitMax:  config.Timeout,
	})
	if err != nil {
		return nil, err
	}
	return keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
}

func (k *keySet) breakers() []*limit.Breaker { return []*limit.Breaker{k.fetcher.breaker} }

// ready waits for the first fetch, as long as ctx lets it.
func (k *keySet) ready(ctx context.Context) error {
	select {
	case <-k.fetched:
		return k.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// keys refuses a key that is not in the set, unless the set could not be fetched of late: then
// it may be in it.
func (k *keySet) keys(ctx context.Context, t *jwt.Token) (any, error) {
	if err := k.ready(ctx); err != nil {
		return nil, fmt.Errorf("%w: the JWK Set is not there yet: %w", ErrUnavailable, err)
	}
	found, err := k.find.KeyfuncCtx(ctx)(t)
	all, whole := found.(jwt.VerificationKeySet) // for a token that names none
	missing := err != nil || whole && len(all.Keys) == 0
	switch {
	case missing && (k.stored.stale.Load() || ctx.Err() != nil):
		return nil, fmt.Errorf("%w: the JWK Set cannot be fetched", ErrUnavailable)
	case missing:
		return nil, refuse("the token's key is not known")
	case !whole && usable(found) != nil:
		return nil, refuse("the token's key is not fit for use")
	}
	return found, nil
}
