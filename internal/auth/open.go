package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reload"
)

// guarded is a verifier with circuit breakers in front of remote services.
type guarded interface{ breakers() []*limit.Breaker }

// Open makes the verifiers that config names. w watches their files, and must outlive the chain.
func Open(config Config, w *reload.Watcher) (*Chain, error) { return open(config, w, time.Now) }

func open(config Config, w *reload.Watcher, now func() time.Time) (*Chain, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	permissions, err := NewPermissions(config.Permissions)
	if err != nil {
		return nil, fmt.Errorf("permissions.%w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Chain{
		config:      config,
		permissions: permissions,
		revoked:     NewRevocations(config.MaxRevocations, now),
		proven:      newProven(),
		now:         now,
		stop:        stop,
	}
	for _, method := range config.Order {
		v, err := c.verifier(ctx, method, &config, w)
		if err != nil {
			stop()
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		c.links = append(c.links, &link{method: method, slow: config.slow(method), Verifier: v})
		if b, ok := v.(guarded); ok {
			c.breakers = append(c.breakers, b.breakers()...)
		}
	}
	return c, nil
}

// slow reports whether a method takes more than microseconds: passwords are hashed, signatures
// verified, services asked.
func (c *Config) slow(method string) bool {
	switch method {
	case "basic", "jwt", "webhook":
		return true
	case "certificate":
		return c.Certificate.CRL != "" // the signatures of the lists are verified
	}
	return false
}

// verifier makes the verifier of a method; ctx ends its background work.
func (c *Chain) verifier(ctx context.Context, method string, config *Config, w *reload.Watcher) (Verifier, error) {
	switch method {
	case "tokens":
		return newTokens(config.Tokens.File, w)
	case "basic":
		return newUsers(config.Basic, w, c.now)
	case "jwt":
		return newTokenVerifier(ctx, config.JWT, w, c.now)
	case "certificate":
		return newCertificates(config.Certificate, w, c.now)
	case "webhook":
		return newWebhook(ctx, config.Webhook, config.Services, w, c.now)
	default:
		return insecure{}, nil
	}
}
