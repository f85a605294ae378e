package door

import (
	"strings"
	"testing"
)

// Suites have the names that the standard library gives them; the weak ones are known.
func TestCipherSuiteNames(t *testing.T) {
	const weak = "TLS_RSA_WITH_AES_128_CBC_SHA"
	_, names, err := cipherSuites([]string{weak, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"})
	if err != nil || len(names) != 1 || names[0] != weak {
		t.Errorf("weak are %q, %v", names, err)
	}
	_, _, err = cipherSuites([]string{"TLS_RSA"})
	if err == nil || !strings.Contains(err.Error(), `"TLS_RSA" is no cipher suite of TLS 1.2; known are`) || strings.Contains(err.Error(), "TLS_AES_128_GCM_SHA256") {
		t.Errorf("%v", err)
	}
}
