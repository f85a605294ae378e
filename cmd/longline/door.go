package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/longline/longline/internal/api"
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/reload"
)

// door is what the admin port knows of its callers, and shows them.
type door struct {
	roles       *auth.Roles // nil lets everybody in
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	audit       *slog.Logger
}

// openDoor opens the files that c names.
func (n *node) openDoor(c api.Config, stderr io.Writer) (d door, err error) {
	if c.Tokens != "" {
		if d.roles, err = auth.OpenRoles(c.Tokens, n.files); err != nil {
			return d, fmt.Errorf("api.tokens: %w", err)
		}
	}
	if c.Cert != "" {
		pair, err := reload.OpenKeyPair(n.files, c.Cert, c.Key)
		if err != nil {
			return d, fmt.Errorf("api.cert: %w", err)
		}
		d.certificate = pair.Get
	}
	switch c.Audit {
	case "":
	case "-":
		d.audit = slog.New(slog.NewJSONHandler(stderr, nil))
	default:
		file, err := os.OpenFile(c.Audit, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return d, fmt.Errorf("api.audit: %w", err)
		}
		n.audit = file
		d.audit = slog.New(slog.NewJSONHandler(file, nil))
	}
	return d, nil
}
