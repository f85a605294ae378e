package main

import (
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/longline/longline/internal/config"
)

// A node whose last step fails leaves nothing behind.
func TestFailedStartLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	var c config.Config
	c.Gateway.Listen, c.API.Address = "127.0.0.1:0", taken.Addr().String()
	c.Auth.Order, c.Auth.Tokens.File = []string{"tokens"}, tokens
	c.API.Audit = filepath.Join(t.TempDir(), "audit")
	n, err := startNode(t.Context(), c.WithDefaults(), slog.New(slog.DiscardHandler), io.Discard)
	if n != nil || err == nil || !strings.HasPrefix(err.Error(), "admin port: ") {
		t.Errorf("%v, %v", n, err)
	}
	goleak.VerifyNone(t, before)
}

// close undoes each step once, last step first.
func TestCloseGoesBackwards(t *testing.T) {
	var got []int
	n := new(node)
	for i := range 3 {
		n.undo = append(n.undo, func() { got = append(got, i) })
	}
	n.close()
	n.close()
	if want := []int{2, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
