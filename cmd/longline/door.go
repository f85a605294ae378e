package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"syscall"

	"github.com/longline/longline/internal/api"
	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/config"
	"github.com/longline/longline/internal/reload"
)

// door is what the admin port checks its callers by, and what it shows them.
type door struct {
	roles       *auth.Roles // nil lets everybody in
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	audit       *slog.Logger
}

// fitting returns how many of the wanted connections of the admin port are sure to get a descriptor under the
// limit of open files: a quarter of the limit, or, if the devices share the table, half of what they leave.
func fitting(want, devices, limit int) int {
	most := limit / 4
	if spare := limit - devices; spare >= min(256, limit/2) {
		most = min(most, spare/2)
	}
	return max(1, min(want, most))
}

// fit lowers the admin port's connections to those that there are descriptors for.
func fit(c config.Config, log *slog.Logger) api.Config {
	c = c.WithDefaults()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return c.API // as configured
	}
	most := fitting(c.API.MaxConnections, c.Gateway.MaxConnections, int(min(limit.Cur, math.MaxInt32)))
	if most < c.API.MaxConnections {
		log.Info("the admin port takes fewer connections than api.max_connections, because the limit of open files is low", "connections", most)
	}
	c.API.MaxConnections = most
	return c.API
}

// openDoor opens the files that the admin port needs.
func (n *node) openDoor(context.Context) (err error) {
	c, d := n.config.API, &n.door
	if c.Tokens != "" {
		if d.roles, err = auth.OpenRoles(c.Tokens, n.files); err != nil {
			return fmt.Errorf("api.tokens: %w", err)
		}
	}
	if c.Cert != "" {
		pair, err := reload.OpenKeyPair(n.files, c.Cert, c.Key)
		if err != nil {
			return fmt.Errorf("api.cert: %w", err)
		}
		d.certificate = pair.Get
	}
	return n.openAudit(c.Audit)
}

// openAudit opens the audit log: a file, standard error for -, or none for an empty name.
func (n *node) openAudit(name string) (err error) {
	switch name {
	case "":
		return nil
	case "-":
		n.audit = newAudit(n.log)
		n.audit.stderr = n.stderr
	default:
		if n.audit, err = openAudit(name, n.log); err != nil {
			return fmt.Errorf("api.audit: %w", err)
		}
		n.undo = append(n.undo, func() { _ = n.audit.Close() }) // nothing is buffered
		if err := n.files.Add(n.audit.reopen, name); err != nil {
			return fmt.Errorf("api.audit: %w", err)
		}
	}
	n.door.audit = slog.New(slog.NewJSONHandler(n.audit, nil))
	return nil
}
