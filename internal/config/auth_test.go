package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The examples of docs/authentication.md are files that serve accepts.
func TestDocumentedAuthentication(t *testing.T) {
	doc, err := os.ReadFile("../../docs/authentication.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(doc, -1)
	if len(examples) == 0 {
		t.Fatal("none found")
	}
	for _, example := range examples {
		if _, err := Parse("authentication.md", example[1]); err != nil {
			t.Error(err)
		}
	}
}

// A configuration in which devices need no credentials by mistake, or whose sections do not fit together, is refused
// before a port opens.
func TestAuthenticationFits(t *testing.T) {
	for _, tt := range []struct{ text, key, msg string }{
		{"auth: {order: [insecure]}\n", "", ""},
		{"auth: {order: [insecure]}\ngateway: {listen: \"0.0.0.0:1\"}\n", "gateway.insecure", "loopback"},
		{"auth: {order: [insecure]}\ngateway: {listen: \"0.0.0.0:1\", force_insecure: true}\n", "", ""},
		{"auth: {order: [tokens, insecure], tokens: {file: f}}\n", "auth.order", "loopback"},
		{"auth: {order: [tokens], tokens: {file: f}}\ngateway: {insecure: true}\n", "gateway.insecure", "auth.order"},
		{"auth: {order: [certificate]}\n", "auth.order", "client_ca"},
		{"auth: {order: [jwt]}\n", "auth.jwt.key_file", "want exactly one of"},
		{"gateway: {tls: {client_auth: require}}\n", "gateway.tls.client_auth", "client_ca"},
		{"api: {address: \":8081\"}\n", "api.tokens", "loopback"},
		{"api: {address: \":8081\", tokens: f}\n", "", ""},
	} {
		_, err := Parse("f", []byte(tt.text))
		if (err == nil) != (tt.key == "") || err != nil && !(strings.Contains(err.Error(), tt.key+": ") && strings.Contains(err.Error(), tt.msg)) {
			t.Errorf("%s: %v, want %s with %q", tt.text, err, tt.key, tt.msg)
		}
	}
}
