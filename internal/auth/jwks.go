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

// keySet is a JWK Set (RFC 7517) of a URL. It is fetched at the start, from time to time,
// and when a token names a key that is not in it. It need not be there at the start: until
// it is, there are no keys and nobody is let in.
type keySet struct {
	find    keyfunc.Keyfunc
	stored  *storedKeys
	fetcher *fetcher
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

func newKeySet(ctx context.Context, config JWT) (*keySet, error) {
	s, f := &storedKeys{Storage: jwkset.NewMemoryStorage()}, newFetcher(ctx)
	remote, err := jwkset.NewStorageFromHTTP(config.JWKS, jwkset.HTTPClientStorageOptions{
		Client:                    &http.Client{Transport: f},
		Ctx:                       ctx,
		HTTPTimeout:               config.Timeout,
		NoErrorReturnFirstHTTPReq: true,
		RefreshInterval:           config.Refresh,
		RefreshErrorHandler: func(_ context.Context, err error) {
			s.stale.Store(true)
			slog.Error("the JWK Set cannot be fetched; the keys from before stay", "url", config.JWKS, "error", err)
		},
		Storage: s,
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
	find, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
	return &keySet{find, s, f}, err
}

func (k *keySet) breakers() []*limit.Breaker { return []*limit.Breaker{k.fetcher.breaker} }

// keys refuses a key that is not in the set, unless the set could not be fetched of late: then
// it may be in it.
func (k *keySet) keys(ctx context.Context, t *jwt.Token) (any, error) {
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
