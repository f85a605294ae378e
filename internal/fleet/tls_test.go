package fleet

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/longline/longline/internal/reactor"
)

// Devices use TLS for a wss:// gateway, and verify its certificate unless told otherwise.
func TestReplayOverTLS(t *testing.T) {
	lender := httptest.NewTLSServer(nil) // lends its certificate
	t.Cleanup(lender.Close)
	workers := reactor.NewWorkers(4, 64)
	t.Cleanup(workers.Close)
	g := newGateway(t, script{})
	secure, err := reactor.Start(reactor.Config{
		Listen:     "127.0.0.1:0",
		Loops:      1,
		TLS:        &reactor.TLSConfig{Config: lender.TLS, Handshakes: workers},
		NewHandler: func(*reactor.Loop) reactor.Handler { return &peer{g: g} },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(secure.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: lender.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		config Config
		taken  bool
	}{
		{"ca", Config{CA: ca}, true},
		{"skip", Config{InsecureSkipVerify: true}, true},
		{"unknown", Config{Reconnect: Backoff{Min: 1, MaxTries: 1}}, false},
	} {
		config := tt.config
		config.Gateway = "wss://" + secure.Addr().String()
		config.Replay = record(t, 20, tt.name)
		report, err := Run(t.Context(), config, nil)
		if (err == nil) != tt.taken || report.Complete() != tt.taken {
			t.Errorf("%s: %v, report: %+v", tt.name, err, report)
		}
		if tt.taken && !slices.Equal(g.got(tt.name), recorded(20, 0, 1, tt.name)) {
			t.Errorf("%s: taken: %q", tt.name, g.got(tt.name))
		}
	}
}
