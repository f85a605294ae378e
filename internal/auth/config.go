package auth

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/setting"
)

// Config says how devices prove who they are. The zero value knows no device. WithDefaults
// has the defaults.
type Config struct {
	Order          []string      `yaml:"order" help:"how a device may prove who it is, tried in this order: tokens, basic, jwt, certificate, webhook; insecure believes the device id"`
	Permissions    Filters       `yaml:"permissions" help:"what a device may do when its credential does not say"`
	Concurrency    int           `yaml:"concurrency" help:"credentials verified at the same time"`
	Waiting        int           `yaml:"waiting" help:"devices whose credentials wait for their turn; more are told to come back"`
	Grace          time.Duration `yaml:"grace" help:"how long a device stays connected when its credential has expired, for it to refresh it"`
	MaxRevocations int           `yaml:"max_revocations" help:"revoked devices and tokens that the node remembers at one time"`
	Tokens         Tokens        `yaml:"tokens" help:"bearer tokens in a file"`
	Basic          Basic         `yaml:"basic" help:"HTTP Basic: OCPP's security profiles 1 and 2"`
	JWT            JWT           `yaml:"jwt" help:"JSON Web Tokens"`
	Certificate    Certificate   `yaml:"certificate" help:"client certificates, which TLS has verified"`
	RememberProven bool          `yaml:"-"` // for Chain.Proves, where connections are paced
	Webhook        Webhook       `yaml:"webhook" help:"a service that is asked about credentials; nobody is let in while it is down"`
}

// Tokens is about bearer tokens in a file.
type Tokens struct {
	File string `yaml:"file" help:"lines of a device id, or the beginning of one and *, sha256: with the token's SHA-256 in hexadecimal digits, and a name if you like; read again when it changes"`
}

// Basic is about users in a file.
type Basic struct {
	File        string `yaml:"file" help:"lines of device:hash, as htpasswd -B writes them; read again when it changes"`
	MinPassword int    `yaml:"min_password" unit:"bytes" help:"shortest password"`
	MaxPassword int    `yaml:"max_password" unit:"bytes" help:"longest password, at most 72"`
}

// JWT is about JSON Web Tokens, RFC 7519. Their keys come from one place.
type JWT struct {
	Algorithms       []string       `yaml:"algorithms" help:"accepted algorithms; when left out HS256 with secret, and RS256, PS256, ES256, EdDSA with key_file or jwks"`
	KeyFile          string         `yaml:"key_file" help:"public keys or certificates, a PEM file; read again when it changes"`
	Secret           setting.Secret `yaml:"secret" help:"the secret of HS256, HS384 and HS512"`
	JWKS             string         `yaml:"jwks" help:"URL of a JWK Set"`
	Refresh          time.Duration  `yaml:"refresh" help:"how often the JWK Set is fetched; also when a token names a key that is not in it"`
	Timeout          time.Duration  `yaml:"timeout" help:"how long fetching the JWK Set may take"`
	Issuer           string         `yaml:"issuer" help:"what iss has to be; anything when left out"`
	Audience         string         `yaml:"audience" help:"what aud has to have; anything when left out"`
	Leeway           time.Duration  `yaml:"leeway" help:"by how much clocks may differ"`
	NoExpiry         bool           `yaml:"no_expiry" help:"also accept tokens without exp"`
	DeviceClaim      string         `yaml:"device_claim" help:"the claim that is the device id"`
	PermissionsClaim string         `yaml:"permissions_claim" help:"the claim that says what the device may do: an object with publish and subscribe, lists of filters"`
}

// Certificate is about client certificates.
type Certificate struct {
	Name   string `yaml:"name" help:"where the device id is: cn, or a subject alternative name: dns, uri, email"`
	Prefix string `yaml:"prefix" help:"what is before the device id, such as urn:device:"`
	Suffix string `yaml:"suffix" help:"what is after the device id, such as .devices.example.com"`
	CRL    string `yaml:"crl" help:"revocation lists, a PEM file; with it, the device's issuer has to have one that is not out of date; read again when it changes"`
}

// Webhook is about a service that knows devices.
type Webhook struct {
	URL         string         `yaml:"url" help:"where credentials are posted as JSON"`
	Secret      setting.Secret `yaml:"secret" help:"bearer token that the gateway shows to the service"`
	Timeout     time.Duration  `yaml:"timeout" help:"how long an answer may take, and before it the wait for a turn"`
	Concurrency int            `yaml:"concurrency" help:"requests at the same time"`
	CacheTTL    time.Duration  `yaml:"cache_ttl" help:"for how long an acceptance is remembered, unless the service says less"`
	CacheSize   int            `yaml:"cache_size" help:"acceptances that are remembered"`
	OpenAfter   int            `yaml:"open_after" help:"failures in a row after which the service is left alone"`
	OpenFor     time.Duration  `yaml:"open_for" help:"for how long it is left alone"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Permissions = c.Permissions.WithDefaults()
	c.Concurrency = cmp.Or(c.Concurrency, 64)
	c.Waiting = cmp.Or(c.Waiting, 4096)
	c.Grace = cmp.Or(c.Grace, 30*time.Second)
	c.MaxRevocations = cmp.Or(c.MaxRevocations, 100_000)
	c.Basic = c.Basic.WithDefaults()
	c.JWT = c.JWT.WithDefaults()
	c.Certificate.Name = cmp.Or(c.Certificate.Name, "cn")
	c.Webhook = c.Webhook.WithDefaults()
	return c
}

// WithDefaults returns b with the defaults in place of zero fields: the lengths are those of
// OCPP 2.0.1 part 2, BasicAuthPassword.
func (b Basic) WithDefaults() Basic {
	b.MinPassword = cmp.Or(b.MinPassword, 16)
	b.MaxPassword = cmp.Or(b.MaxPassword, 40)
	return b
}

// WithDefaults returns j with the defaults in place of zero fields.
func (j JWT) WithDefaults() JWT {
	if len(j.Algorithms) == 0 {
		j.Algorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}
		if j.Secret.Given() {
			j.Algorithms = []string{"HS256"}
		}
	}
	j.Refresh = cmp.Or(j.Refresh, 15*time.Minute)
	j.Timeout = cmp.Or(j.Timeout, 5*time.Second)
	j.Leeway = cmp.Or(j.Leeway, 30*time.Second)
	j.DeviceClaim = cmp.Or(j.DeviceClaim, "sub")
	j.PermissionsClaim = cmp.Or(j.PermissionsClaim, "permissions")
	return j
}

// WithDefaults returns w with the defaults in place of zero fields.
func (w Webhook) WithDefaults() Webhook {
	w.Timeout = cmp.Or(w.Timeout, 5*time.Second)
	w.Concurrency = cmp.Or(w.Concurrency, 64)
	w.CacheTTL = cmp.Or(w.CacheTTL, time.Minute)
	w.CacheSize = cmp.Or(w.CacheSize, 100_000)
	w.OpenAfter = cmp.Or(w.OpenAfter, 5)
	w.OpenFor = cmp.Or(w.OpenFor, 10*time.Second)
	return w
}

// Methods are the kinds of verifiers: what Order may have and what Identity.Method says.
func Methods() []string {
	return []string{"tokens", "basic", "jwt", "certificate", "webhook", "insecure"}
}

// Validate names what cannot be, after WithDefaults. The error begins with the key. Sections
// that are not in Order are not looked at.
func (c Config) Validate() error {
	for i, method := range c.Order {
		if !slices.Contains(Methods(), method) {
			return fmt.Errorf("order: want some of %s, not %q", strings.Join(Methods(), ", "), method)
		}
		if slices.Contains(c.Order[:i], method) {
			return fmt.Errorf("order: %s is in it twice", method)
		}
		if err := c.validate(method); err != nil {
			return fmt.Errorf("%s.%w", method, err)
		}
	}
	if _, err := NewPermissions(c.Permissions); err != nil {
		return fmt.Errorf("permissions.%w", err)
	}
	return nil
}

func (c Config) validate(method string) error {
	switch method {
	case "tokens":
		return given("file", c.Tokens.File)
	case "basic":
		return c.Basic.Validate()
	case "jwt":
		return c.JWT.Validate()
	case "certificate":
		return c.Certificate.Validate()
	case "webhook":
		return remote("url", c.Webhook.URL)
	}
	return nil
}

func given(key, value string) error {
	if value == "" {
		return fmt.Errorf("%s: is missing", key)
	}
	return nil
}

func remote(key, value string) error {
	u, err := url.ParseRequestURI(value)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%s: want a URL that begins with https:// or http://", key)
	}
	return nil
}

// Validate names what cannot be, after WithDefaults. The error begins with the key.
func (b Basic) Validate() error {
	const most = 72 // bytes that bcrypt looks at
	if b.MaxPassword < b.MinPassword || b.MaxPassword > most {
		return fmt.Errorf("max_password: want min_password, %d, to %d", b.MinPassword, most)
	}
	return given("file", b.File)
}

// Validate names what cannot be, after WithDefaults. The error begins with the key. It keeps
// the families of algorithms apart, so that no public key serves as a secret, RFC 8725 §2.1.
func (j JWT) Validate() error {
	sources := 0
	for _, given := range []bool{j.KeyFile != "", j.Secret.Given(), j.JWKS != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return errors.New("key_file: want one of key_file, secret and jwks")
	}
	if j.JWKS != "" {
		if err := remote("jwks", j.JWKS); err != nil {
			return err
		}
	}
	allowed := asymmetric
	if j.Secret.Given() {
		allowed = symmetric
	}
	for _, name := range j.Algorithms {
		if !slices.Contains(allowed, name) {
			return fmt.Errorf("algorithms: want some of %s with these keys, not %q", strings.Join(allowed, ", "), name)
		}
	}
	return nil
}

// Validate names what cannot be, after WithDefaults. The error begins with the key.
func (c Certificate) Validate() error {
	if !slices.Contains([]string{"cn", "dns", "uri", "email"}, c.Name) {
		return fmt.Errorf("name: want cn, dns, uri or email, not %q", c.Name)
	}
	return nil
}
