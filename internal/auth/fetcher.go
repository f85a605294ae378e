package auth

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/longline/longline/internal/limit"
)

const (
	// maxKeySet bounds a JWK Set, in bytes.
	maxKeySet = 1 << 20
	// fetchFailures in a row open the breaker, for unknownEvery.
	fetchFailures = 3
)

// fetcher fetches a JWK Set through a circuit breaker, with a bound on its size. It follows no redirect.
type fetcher struct {
	transport *http.Transport
	breaker   *limit.Breaker
}

func newFetcher(ctx context.Context) *fetcher {
	t := http.DefaultTransport.(*http.Transport).Clone()
	context.AfterFunc(ctx, t.CloseIdleConnections)
	failed := func(err error) bool { return err != nil }
	return &fetcher{t, limit.NewBreaker("jwks", fetchFailures, unknownEvery, failed)}
}

// RoundTrip implements http.RoundTripper.
func (f *fetcher) RoundTrip(r *http.Request) (response *http.Response, err error) {
	err = f.breaker.Do(func() (err error) {
		response, err = f.fetch(r) //nolint:bodyclose // http.Client closes it
		return err
	})
	return response, err
}

func (f *fetcher) fetch(r *http.Request) (*http.Response, error) {
	response, err := f.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, fmt.Errorf("status %s", response.Status)
	}
	response.Body = bounded{io.LimitReader(response.Body, maxKeySet), response.Body}
	return response, nil
}

// bounded is a response body that ends after a number of bytes.
type bounded struct {
	io.Reader
	io.Closer
}
