// Package cluster joins gateways that share a Redis, so that they are one: a device has one owner among them, and a message published on any node reaches
// its receivers on all.
//
// A node renews its lease in Redis (membership.go), announces what its subscribers want (interest.go), and has an inbox there, a stream, in which the
// others put what is for it (bus.go, inbox.go). It claims devices that connect, tells the owner before, and adopts what a dead node had (adopt.go).
package cluster

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/longline/longline/internal/cluster/balance"
	"github.com/longline/longline/internal/redisconn"
	"github.com/longline/longline/internal/setting"
)

// Config says which cluster a node is in. Without a name it is in none.
type Config struct {
	Name       string        `yaml:"name" help:"name of the cluster, the same on all its nodes; left out, the node is alone"`
	Node       string        `yaml:"node" help:"name of this node, another one on each; left out, the name of the host"`
	Lease      time.Duration `yaml:"lease" help:"how long a node may be silent until others take over its devices; the same on all nodes"`
	InboxBytes int           `yaml:"inbox_bytes" unit:"bytes" help:"messages from other nodes that may wait for this one; beyond it, their publishers wait, then are refused"`
	Patience   time.Duration `yaml:"patience" help:"how long Redis may be away until publications that need it are refused"`

	Balance balance.Config   `yaml:"balance" help:"devices are asked to connect to nodes that have more room"`
	Redis   redisconn.Config `yaml:"redis" help:"the Redis that the nodes share"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	if c.Node == "" && c.Name != "" {
		c.Node, _ = os.Hostname() // without one, Validate says that node is missing
	}
	if c.Lease == 0 {
		c.Lease = 10 * time.Second
	}
	if c.InboxBytes == 0 {
		c.InboxBytes = 64 << 20
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	c.Balance = c.Balance.WithDefaults()
	c.Redis = c.Redis.WithDefaults()
	return c
}

// validName is what keys of Redis and owners (name/life) leave room for.
var validName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	if c.Name == "" {
		return nil
	}
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(!validName.MatchString(c.Name), "name: want 1 to 63 of A-Z a-z 0-9 . _ -, not %q", c.Name)
	bad(!validName.MatchString(c.Node), "node: want 1 to 63 of A-Z a-z 0-9 . _ -, not %q", c.Node)
	bad(c.Lease < time.Second || c.Lease > 5*time.Minute, "lease: want 1s to 5m, not %v", c.Lease)
	bad(c.InboxBytes < 1<<20, "inbox_bytes: want at least 1MiB, not %d", c.InboxBytes)
	bad(c.Patience < 100*time.Millisecond || c.Patience > time.Minute, "patience: want 100ms to 1m, not %v", c.Patience)
	if err := c.Balance.Validate(); err != nil {
		bad(true, "balance.%w", err)
	}
	for _, err := range setting.Errors(c.Redis.Validate()) {
		bad(true, "redis.%w", err)
	}
	return errors.Join(errs...)
}
