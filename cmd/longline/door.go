package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"

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
func (n *node) openDoor(c api.Config, log *slog.Logger, stderr io.Writer) (d door, err error) {
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
		if n.audit, err = openAudit(c.Audit, log); err == nil {
			err = n.files.Add(n.audit.reopen, c.Audit)
		}
		if err != nil {
			return d, fmt.Errorf("api.audit: %w", err)
		}
		d.audit = slog.New(slog.NewJSONHandler(n.audit, nil))
	}
	return d, nil
}
