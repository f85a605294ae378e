package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"

	"github.com/longline/longline/internal/bench"
)

// secured measures memory and handshakes of a server with TLS. The
// keys are ECDSA P-256, the version is 1.3, and no session is resumed.
func (o *options) secured(ctx context.Context, s *server, r *bench.Summary) error {
	folder, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	cert, key := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	roots, err := bench.WriteCertificate(cert, key)
	if err != nil {
		return err
	}
	with := *s
	with.args = append(append([]string(nil), s.args...), s.secure(cert, key)...)
	running, err := with.start(ctx, o.ServerCPU)
	if err != nil {
		return err
	}
	defer running.stop()
	t := running.target
	t.TLS = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
	c, memory, err := o.crowd(ctx, t)
	if err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	c.Close()
	r.Add("tls_idle", memory)
	result, err := bench.Handshakes(ctx, t, o.Handshake/4)
	if err != nil {
		return fmt.Errorf("TLS handshakes: %w", err)
	}
	r.Add("tls_handshake", bench.Micros(result.Cost()))
	return nil
}
