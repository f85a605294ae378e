package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

func TestValidate(t *testing.T) {
	order := func(o string, change func(*Config)) Config {
		c := Config{Order: strings.Fields(o)}
		if change != nil {
			change(&c)
		}
		return c.WithDefaults()
	}
	token := func(j JWT) Config { return order("jwt", func(c *Config) { c.JWT = j }) }
	for _, tt := range []struct {
		config Config
		says   string // the beginning of the error; empty if it is valid
	}{
		{order("", nil), ""},
		{order("insecure certificate", nil), ""},
		{order("magic", nil), "order: want any of tokens, basic, jwt"},
		{order("insecure insecure", nil), "order: insecure is listed twice"},
		{order("tokens", nil), "tokens.file: missing"},
		{order("basic", nil), "basic.file: missing"},
		{order("basic", func(c *Config) { c.Basic = Basic{File: "f", MaxPassword: 73} }), "basic.max_password: want"},
		{order("basic", func(c *Config) { c.Basic = Basic{File: "f", MinPassword: 41} }), "basic.max_password: want"},
		{order("certificate", func(c *Config) { c.Certificate.Name = "ip" }), "certificate.name: want"},
		{order("webhook", nil), "webhook.url: want a URL"},
		{order("webhook", func(c *Config) { c.Webhook.URL = "localhost:80" }), "webhook.url: want a URL"},
		{order("webhook", func(c *Config) { c.Webhook.URL = "https://id.example/check" }), ""},
		{order("webhook", func(c *Config) { c.Webhook.Service = "identity" }), ""},
		{order("webhook", func(c *Config) { c.Webhook.Service, c.Webhook.URL = "identity", "https://id.example" }), "webhook.service: want url or service, and not both"},
		{order("webhook", func(c *Config) { c.Webhook.URL, c.Webhook.Path = "https://id.example", "/verify" }), "webhook.path: is for service"},
		{order("webhook", func(c *Config) { c.Webhook.Service, c.Webhook.Path = "identity", "verify" }), "webhook.path: want a path such as /verify"},
		{order("webhook", func(c *Config) { c.Webhook.URL = "https://me:secret@id.example/check" }), "webhook.url: want a URL without user and password"},
		{order("", func(c *Config) { c.Permissions.Publish = []string{"a#"} }), "permissions.publish: "},
		{token(JWT{}), "jwt.key_file: want exactly one of"},
		{token(JWT{KeyFile: "k", JWKS: "https://x"}), "jwt.key_file: want exactly one of"},
		{token(JWT{JWKS: "file:///etc/keys"}), "jwt.jwks: want a URL"},
		{token(JWT{JWKS: "https://x/keys"}), ""},
		{token(JWT{Secret: setting.SecretFile("s")}), ""},
		{token(JWT{Secret: setting.SecretFile("s"), Algorithms: []string{"HS256", "RS256"}}), "jwt.algorithms: want any of HS256, HS384, HS512 with these keys"},
		{token(JWT{KeyFile: "k", Algorithms: []string{"HS256"}}), "jwt.algorithms: want any of RS256"},
		{token(JWT{KeyFile: "k", Algorithms: []string{"none"}}), "jwt.algorithms: want any of"},
	} {
		err := tt.config.Validate()
		if (err == nil) != (tt.says == "") || err != nil && !strings.HasPrefix(err.Error(), tt.says) {
			t.Errorf("%v: got %v, want %q", tt.config.Order, err, tt.says)
		}
	}
}

// TestOpen verifies a device of each kind with one chain.
func TestOpen(t *testing.T) {
	c := newClock()
	chain := opened(t, Config{
		Order:  []string{"tokens", "jwt", "basic", "certificate", "insecure"},
		Tokens: Tokens{File: written(t, "m-1 "+hashed("one"))},
		JWT:    JWT{Secret: setting.SecretFile(written(t, string(shared)))},
		Basic:  Basic{File: written(t, userLine(t, "m-3", password))},
	}, new(reload.Watcher), c)
	ca := newAuthority(t, c, "ca", "P-256")
	for method, shown := range map[string]*Credentials{
		"tokens":      {Bearer: "one"},
		"jwt":         {Bearer: signed(t, c, "HS256", shared, nil)},
		"basic":       {HasBasic: true, Username: "m-3", Password: password},
		"certificate": {Certificates: ca.chain(t, &x509.Certificate{Subject: pkix.Name{CommonName: "m-4"}})},
		"insecure":    {Device: "m-5"},
	} {
		i, err := chain.Verify(t.Context(), shown)
		if err != nil || i.Method != method || !i.MayPublish("device/"+i.Device+"/up") {
			t.Errorf("%s: %+v, %v", method, i, err)
		}
	}
	if len(chain.Breakers()) != 0 {
		t.Errorf("breakers of nothing remote: %v", chain.Breakers())
	}
}

func TestOpenSaysWhichFile(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	for method, config := range map[string]Config{
		"tokens":      {Tokens: Tokens{File: gone}},
		"basic":       {Basic: Basic{File: gone}},
		"jwt":         {JWT: JWT{Secret: setting.SecretFile(gone)}},
		"certificate": {Certificate: Certificate{CRL: gone}},
	} {
		config.Order = []string{method}
		_, err := Open(config, new(reload.Watcher))
		if err == nil || !strings.HasPrefix(err.Error(), method+": ") || !strings.Contains(err.Error(), gone) || !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", method, err)
		}
	}
}
