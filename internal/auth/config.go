package auth

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
)

// Config says how devices authenticate. The zero value admits no device. WithDefaults
// has the defaults.
type Config struct {
	Order          []string      `yaml:"order" help:"how devices may authenticate, tried in this order: tokens, basic, jwt, certificate, webhook; insecure believes the device id"`
	Permissions    Filters       `yaml:"permissions" help:"what a device may do if its credential does not say"`
	Concurrency    int           `yaml:"concurrency" help:"maximum number of credentials verified concurrently"`
	Waiting        int           `yaml:"waiting" help:"devices that may wait for their credentials to be verified; further ones are refused and told when to retry"`
	Grace          time.Duration `yaml:"grace" help:"how long a device stays connected after its credential has expired, so that it can refresh it"`
	MaxRevocations int           `yaml:"max_revocations" help:"maximum number of revoked devices and tokens that the node remembers"`
	Tokens         Tokens        `yaml:"tokens" help:"bearer tokens in a file"`
	Basic          Basic         `yaml:"basic" help:"HTTP Basic: OCPP's security profiles 1 and 2"`
	JWT            JWT           `yaml:"jwt" help:"JSON Web Tokens"`
	Certificate    Certificate   `yaml:"certificate" help:"client certificates that TLS verified"`
	RememberProven bool          `yaml:"-"` // for Chain.Proves, where the rate of connections is limited
	Webhook        Webhook       `yaml:"webhook" help:"a service that verifies credentials; while it is down, it admits no device"`
	Services       *service.Set  `yaml:"-"` // where webhook.service is
}

// Tokens configures bearer tokens in a file.
type Tokens struct {
	File string `yaml:"file" help:"file with one token per line: a device id, or the beginning of one and *; sha256: with the token's SHA-256 in hexadecimal digits; an optional name; read again when it changes"`
}

// Basic configures users in a file.
type Basic struct {
	File        string `yaml:"file" help:"file with one user per line, device:hash, as htpasswd -B writes them; read again when it changes"`
	MinPassword int    `yaml:"min_password" unit:"bytes" help:"shortest password"`
	MaxPassword int    `yaml:"max_password" unit:"bytes" help:"longest password, at most 72"`
}

// JWT configures JSON Web Tokens, RFC 7519. Their keys come from one source.
type JWT struct {
	Algorithms       []string       `yaml:"algorithms" help:"accepted algorithms; when left out HS256 with secret, and RS256, PS256, ES256, EdDSA with key_file or jwks"`
	KeyFile          string         `yaml:"key_file" help:"public keys or certificates, a PEM file; read again when it changes"`
	Secret           setting.Secret `yaml:"secret" help:"the secret of HS256, HS384 and HS512"`
	JWKS             string         `yaml:"jwks" help:"URL of a JWK Set"`
	Refresh          time.Duration  `yaml:"refresh" help:"how often the JWK Set is fetched; it is also fetched when a token names a key that is not in it"`
	Timeout          time.Duration  `yaml:"timeout" help:"how long fetching the JWK Set may take"`
	Issuer           string         `yaml:"issuer" help:"required value of iss; any when left out"`
	Audience         string         `yaml:"audience" help:"required value of aud; any when left out"`
	Leeway           time.Duration  `yaml:"leeway" help:"clock skew that is tolerated"`
	NoExpiry         bool           `yaml:"no_expiry" help:"also accept tokens without exp"`
	DeviceClaim      string         `yaml:"device_claim" help:"the claim that contains the device id"`
	PermissionsClaim string         `yaml:"permissions_claim" help:"the claim that says what the device may do: an object with publish and subscribe, lists of filters, and call, a list of services"`
}

// Certificate configures client certificates.
type Certificate struct {
	Name   string `yaml:"name" help:"the field that contains the device id: cn, or a subject alternative name: dns, uri, email"`
	Prefix string `yaml:"prefix" help:"text in front of the device id, such as urn:device:"`
	Suffix string `yaml:"suffix" help:"text behind the device id, such as .devices.example.com"`
	CRL    string `yaml:"crl" help:"certificate revocation lists, a PEM file; if given, it must have a current list of each issuer of device certificates; read again when it changes"`
}

// Webhook configures a service that verifies credentials.
type Webhook struct {
	URL         string         `yaml:"url" help:"URL to which credentials are posted as JSON"`
	Service     string         `yaml:"service" help:"name of a service under services to which they are posted, in place of url"`
	Path        string         `yaml:"path" help:"path behind the URL of an instance of the service, such as /verify"`
	Secret      setting.Secret `yaml:"secret" help:"bearer token that the gateway presents to the service"`
	Timeout     time.Duration  `yaml:"timeout" help:"how long an answer may take, and how long a request may wait before it is sent"`
	Concurrency int            `yaml:"concurrency" help:"maximum number of concurrent requests"`
	CacheTTL    time.Duration  `yaml:"cache_ttl" help:"how long an accepted credential is remembered; the service may say less"`
	CacheSize   int            `yaml:"cache_size" help:"maximum number of accepted credentials that are remembered"`
	OpenAfter   int            `yaml:"open_after" help:"failures in a row after which the circuit breaker opens and requests stop"`
	OpenFor     time.Duration  `yaml:"open_for" help:"how long the circuit breaker stays open"`
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

// Methods returns the kinds of verifiers: the values of Order and of Identity.Method.
func Methods() []string {
	return []string{"tokens", "basic", "jwt", "certificate", "webhook", "insecure"}
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key. It does not
// look at the sections of methods that are not in Order.
func (c Config) Validate() error {
	for i, method := range c.Order {
		if !slices.Contains(Methods(), method) {
			return fmt.Errorf("order: want any of %s, not %q", strings.Join(Methods(), ", "), method)
		}
		if slices.Contains(c.Order[:i], method) {
			return fmt.Errorf("order: %s is listed twice", method)
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
		return c.Webhook.validate()
	}
	return nil
}

func (w Webhook) validate() error {
	switch {
	case w.URL != "" && w.Service != "":
		return errors.New("service: want url or service, and not both")
	case w.Service == "" && w.Path != "":
		return errors.New("path: is for service; url has its own")
	case w.Path != "" && w.Path[0] != '/':
		return fmt.Errorf("path: want a path such as /verify, not %q", w.Path)
	case w.Service != "":
		return nil
	}
	return remote("url", w.URL)
}

func given(key, value string) error {
	if value == "" {
		return fmt.Errorf("%s: missing", key)
	}
	return nil
}

func remote(key, value string) error {
	u, err := url.ParseRequestURI(value)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%s: want a URL that begins with https:// or http://", key)
	}
	if u.User != nil { // it would be shown with the configuration
		return fmt.Errorf("%s: want a URL without user and password", key)
	}
	return nil
}

// Validate returns what is wrong with b, after WithDefaults. The error begins with the key.
func (b Basic) Validate() error {
	const most = 72 // bytes that bcrypt uses
	if b.MaxPassword < b.MinPassword || b.MaxPassword > most {
		return fmt.Errorf("max_password: want min_password, %d, to %d", b.MinPassword, most)
	}
	return given("file", b.File)
}

// Validate returns what is wrong with j, after WithDefaults. The error begins with the key. It does not mix
// families of algorithms, so that no public key serves as a secret, RFC 8725 §2.1.
func (j JWT) Validate() error {
	sources := 0
	for _, given := range []bool{j.KeyFile != "", j.Secret.Given(), j.JWKS != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return errors.New("key_file: want exactly one of key_file, secret and jwks")
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
			return fmt.Errorf("algorithms: want any of %s with these keys, not %q", strings.Join(allowed, ", "), name)
		}
	}
	return nil
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Certificate) Validate() error {
	if !slices.Contains([]string{"cn", "dns", "uri", "email"}, c.Name) {
		return fmt.Errorf("name: want cn, dns, uri or email, not %q", c.Name)
	}
	return nil
}
