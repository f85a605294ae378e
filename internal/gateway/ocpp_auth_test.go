package gateway

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	coder "github.com/coder/websocket"
	"golang.org/x/crypto/bcrypt"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/gateway/ocpp"
)

// OCPP's security profiles: 1, a password; 2, a password over TLS; 3, a certificate.
func TestChargerProfiles(t *testing.T) {
	const key = "0123456789abcdef0123456789ABCDEF01234567" // the AuthorizationKey of 1.6
	users := make([]string, 0, 3)
	for name, password := range map[string]string{"CP/1": key, "raw": strings.ToLower("ff" + key[2:]), "word": "sixteen characters"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		users = append(users, name+":"+string(hash))
	}
	files, pool := tlsFiles(t)
	ca := newAuthority(t)
	files.ClientCA = ca.file
	config := auth.Config{Order: []string{"basic", "certificate"}, Basic: auth.Basic{File: file(t, users...)}}
	s := settings{gateway: Config{OCPP: ocpp.Config{Service: "csms"}, Paths: []string{"/cs/v1"}}}
	plain := newGuarded(t, config, s)
	s.gateway.TLS = files
	secure := newGuarded(t, config, s)
	raw := "\xff" + string([]byte{0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67})
	for _, tt := range []struct {
		name, path string
		header     http.Header
		shown      []tls.Certificate
		want       int
	}{
		{"hexadecimal key", "/ocpp/CP%2F1", basicHeader("CP/1", key), nil, 101},
		{"another path", "/cs/v1/CP%2F1", basicHeader("CP/1", key), nil, 101},
		{"a slash too many", "//ocpp/CP%2F1/", basicHeader("CP/1", key), nil, 101},
		{"password", "/ocpp/word", basicHeader("word", "sixteen characters"), nil, 101},
		{"the bytes of a key", "/ocpp/raw", basicHeader("raw", raw), nil, 101},
		{"wrong", "/ocpp/word", basicHeader("word", "seventeen characters"), nil, 401},
		{"of another charger", "/ocpp/raw", basicHeader("word", "sixteen characters"), nil, 401},
		{"none", "/ocpp/word", nil, nil, 401},
		{"certificate", "/ocpp/CP-3", nil, ca.device("CP-3"), 101},
		{"certificate of another charger", "/ocpp/CP-4", nil, ca.device("CP-3"), 401},
	} {
		for _, w := range []*world{plain, secure} {
			if w == plain && tt.shown != nil {
				continue
			}
			scheme := "ws://"
			if w == secure {
				scheme = "wss://"
			}
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: tt.shown}, DisableKeepAlives: true}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			c, r, err := coder.Dial(ctx, scheme+w.gateway.Addr().String()+tt.path, &coder.DialOptions{
				HTTPClient: &http.Client{Transport: transport}, HTTPHeader: tt.header, Subprotocols: []string{"ocpp3", "ocpp1.6"},
			})
			cancel()
			if err == nil {
				_ = c.CloseNow()
			}
			if r == nil || r.StatusCode != tt.want {
				t.Errorf("%s, %s: %v, %v; want %d", tt.name, scheme, r, err, tt.want)
			}
		}
	}
}
