package redisconn

import (
	"strings"
	"testing"

	"github.com/longline/longline/internal/setting"
)

func TestConfig(t *testing.T) {
	at, secret := []string{"h:6379"}, setting.NewSecret("a")
	for want, c := range map[string]Config{
		"":                           {Addresses: []string{"h:6379", "[::1]:6379"}},
		"addresses: want":            {},
		"addresses: want host:port,": {Addresses: []string{"redis://h:6379"}},
		"addresses: want host:port":  {Addresses: []string{"h:0"}},
		"username: want":             {Addresses: at, Username: "u"},
		"database: want":             {Addresses: at, Database: -1},
		"sentinel.primary: want":     {Addresses: at, Sentinel: Sentinel{Password: secret}},
		"sentinel.username: want":    {Addresses: at, Sentinel: Sentinel{Primary: "p", Username: "u"}},
		"tls.enabled: want":          {Addresses: at, TLS: TLS{TLS: setting.TLS{CA: "x"}}},
		"tls.cert: want":             {Addresses: at, TLS: TLS{Enabled: true, TLS: setting.TLS{Cert: "x"}}},
		"timeout: want":              {Addresses: at, Timeout: 1},
	} {
		err := c.WithDefaults().Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%+v: %v, want %s", c, err, want)
		}
	}
}
