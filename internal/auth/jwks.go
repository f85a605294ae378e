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

// unknownEvery is how often a token may have the set fetched for a key that is not in it.
const unknownEvery = 30 * time.Second

// keySet is a JWK Set (RFC 7517) of a URL. It is fetched in the background from the start on,
// from time to time, and when a token needs a key that is not in it. It need not be there at
// the start: until it is, there are no keys and nobody is let in.
type keySet struct {
	// Static after construction.
	stored  *storedKeys
	find    keyfunc.Keyfunc // in stored
	fetcher *fetcher
	unknown *rate.Limiter // of fetches for a key that is not in stored
	fetched chan struct{} // closed when the first fetch has ended, good or not

	// Static after fetched is closed.
	remote jwkset.Storage // fetches the set to read a key that is not in stored
	err    error          // why there is no remote
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

// fetch waits for the first fetch, and has the set fetched again until ctx is done.
func (k *keySet) fetch(ctx context.Context, config JWT) (jwkset.Storage, error) {
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
	return jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{config.JWKS: remote},
		RefreshUnknownKID: rate.NewLimiter(rate.Inf, 0), // it is for us to say how often
		RateLimitWaitMax:  config.Timeout,
	})
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

// keys refuses a token whose key is not in the set, unless the set could not be fetched to look
// for it: then it may be in it.
func (k *keySet) keys(ctx context.Context, t *jwt.Token) (any, error) {
	if err := k.ready(ctx); err != nil {
		return nil, fmt.Errorf("%w: the JWK Set is not there yet: %w", ErrUnavailable, err)
	}
	if err := k.seek(ctx, t); err != nil {
		return nil, err
	}
	found, err := k.find.KeyfuncCtx(ctx)(t)
	all, whole := found.(jwt.VerificationKeySet) // for a token that names none
	all.Keys = slices.DeleteFunc(all.Keys, func(key jwt.VerificationKey) bool { return usable(key) != nil })
	missing := err != nil || whole && len(all.Keys) == 0
	switch {
	case missing && (k.stored.stale.Load() || ctx.Err() != nil):
		return nil, fmt.Errorf("%w: the JWK Set cannot be fetched", ErrUnavailable)
	case missing:
		return nil, refuse("the token's key is not known")
	case whole:
		return all, nil
	case usable(found) != nil:
		return nil, refuse("the token's key is not fit for use")
	}
	return found, nil
}

// seek has the set fetched if the token's key is not in it, or none is for a token that names
// none. The error is ErrUnavailable: another token had it fetched a short while ago.
func (k *keySet) seek(ctx context.Context, t *jwt.Token) error {
	kid, _ := t.Header[jwkset.HeaderKID].(string)
	_, named := t.Header[jwkset.HeaderKID]
	if k.has(ctx, kid, named) {
		return nil
	}
	if !k.unknown.Allow() {
		return fmt.Errorf("%w: the JWK Set is not fetched again so soon", ErrUnavailable)
	}
	_, _ = k.remote.KeyRead(ctx, kid) // what it has found is in stored
	return nil
}

// has tells whether a key is there, or any for a token that names none.
func (k *keySet) has(ctx context.Context, kid string, named bool) bool {
	if named {
		_, err := k.stored.KeyRead(ctx, kid)
		return err == nil
	}
	all, err := k.stored.KeyReadAll(ctx)
	return err == nil && len(all) > 0
}
