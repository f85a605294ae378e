package auth

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/reload"
)

// Families of algorithms, RFC 7518 §3.1 and RFC 8037 §3.1. "none" is in neither.
var (
	symmetric  = []string{"HS256", "HS384", "HS512"}
	asymmetric = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

// keySource finds the key of a token. Its errors are a *Refusal or an ErrUnavailable.
type keySource interface {
	keys(ctx context.Context, t *jwt.Token) (any, error)
}

// jwtVerifier verifies JSON Web Tokens, RFC 7519.
type jwtVerifier struct {
	config JWT
	parser *jwt.Parser
	source keySource

	templates templates
}

func newTokenVerifier(ctx context.Context, config JWT, w *reload.Watcher, now func() time.Time) (*jwtVerifier, error) {
	source, err := newKeySource(ctx, config, w)
	if err != nil {
		return nil, err
	}
	return &jwtVerifier{config: config, parser: jwt.NewParser(parserOptions(config, now)...), source: source}, nil
}

func newKeySource(ctx context.Context, config JWT, w *reload.Watcher) (keySource, error) {
	switch {
	case config.Secret.Given():
		return newSecret(config, w)
	case config.KeyFile != "":
		return newPublicKeys(config.KeyFile, w)
	default:
		return newKeySet(ctx, config)
	}
}

func parserOptions(config JWT, now func() time.Time) []jwt.ParserOption {
	options := []jwt.ParserOption{
		jwt.WithValidMethods(config.Algorithms), // RFC 8725 §3.1
		jwt.WithLeeway(config.Leeway),
		jwt.WithTimeFunc(now),
		jwt.WithStrictDecoding(),
	}
	if !config.NoExpiry {
		options = append(options, jwt.WithExpirationRequired())
	}
	if config.Issuer != "" {
		options = append(options, jwt.WithIssuer(config.Issuer))
	}
	if config.Audience != "" {
		options = append(options, jwt.WithAudience(config.Audience))
	}
	return options
}

func (v *jwtVerifier) breakers() []*limit.Breaker {
	if g, ok := v.source.(guarded); ok {
		return g.breakers()
	}
	return nil
}

// Verify returns ErrNotMine for tokens that do not have a JWT's three parts.
func (v *jwtVerifier) Verify(ctx context.Context, c *Credentials) (*Identity, error) {
	if strings.Count(c.Bearer, ".") != 2 {
		return nil, ErrNotMine
	}
	claims := jwt.MapClaims{}
	_, err := v.parser.ParseWithClaims(c.Bearer, claims, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical { // RFC 7515 §4.1.11: this parser understands none
			return nil, refuse("the token has critical extensions")
		}
		return v.source.keys(ctx, t)
	})
	if err != nil {
		return nil, refuseToken(err)
	}
	return v.identity(claims)
}

// identity reads verified claims. The identity expires after exp and the leeway: from then on the
// parser refuses the token.
func (v *jwtVerifier) identity(claims jwt.MapClaims) (*Identity, error) {
	i := new(Identity)
	var ok bool
	if i.Device, ok = claims[v.config.DeviceClaim].(string); !ok {
		return nil, refuse("the token has no string as claim " + v.config.DeviceClaim)
	}
	if id, there := claims["jti"]; there {
		if i.ID, ok = id.(string); !ok {
			return nil, refuse("the token's jti is not a string") // RFC 7519 §4.1.7
		}
	}
	i.Subject, _ = claims["sub"].(string)
	if exp, err := claims.GetExpirationTime(); err == nil && exp != nil {
		i.Expires = exp.Add(v.config.Leeway)
	}
	if claim, there := claims[v.config.PermissionsClaim]; there {
		p, err := v.permissionsOf(claim, i.Device)
		if err != nil {
			return nil, refuse("the token's claim " + v.config.PermissionsClaim + " is not an object with lists of filters and services")
		}
		i.Permissions = p
	}
	return i, nil
}

// permissionsOf makes permissions of a claim; a missing list is empty.
func (v *jwtVerifier) permissionsOf(claim any, device string) (*Permissions, error) {
	text, err := json.Marshal(claim)
	if err != nil {
		return nil, err
	}
	var f Filters
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	return v.templates.of(f, device)
}

// tokenReasons are the reasons for the parser's errors; the first match counts.
var tokenReasons = []struct {
	err    error
	reason string
}{
	{jwt.ErrTokenMalformed, "the token is malformed"},
	{jwt.ErrTokenSignatureInvalid, "the token's signature or algorithm is not accepted"},
	{jwt.ErrTokenUnverifiable, "the token's key is unknown"},
	{jwt.ErrTokenExpired, "the token has expired"},
	{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
	{jwt.ErrTokenInvalidIssuer, "the token is from another issuer"},
	{jwt.ErrTokenInvalidAudience, "the token is for another audience"},
	{jwt.ErrTokenRequiredClaimMissing, "the token lacks a required claim"},
}

func refuseToken(err error) error {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	for _, r := range tokenReasons {
		if errors.Is(err, r.err) {
			return refuse(r.reason)
		}
	}
	return refuse("the token is not valid")
}
