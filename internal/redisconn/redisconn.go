// Package redisconn has the clients of Redis, and of what speaks its protocol, that sinks and the cluster use.
package redisconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// Config says where the servers are, and who the gateway is to them.
type Config struct {
	Addresses []string       `yaml:"addresses" help:"host:port of the server, of some nodes of a cluster, or of the sentinels"`
	Username  string         `yaml:"username" help:"user of the servers"`
	Password  setting.Secret `yaml:"password" help:"password of the user, or of the servers"`
	Database  int            `yaml:"database" help:"number of the database; a cluster has 0 alone"`
	Sentinel  Sentinel       `yaml:"sentinel" help:"the server is the primary that sentinels name"`
	TLS       TLS            `yaml:"tls" help:"encryption"`
	Timeout   time.Duration  `yaml:"timeout" help:"how long the servers may take to answer"`
}

// Sentinel is how the primary is found.
type Sentinel struct {
	Primary  string         `yaml:"primary" help:"its name at the sentinels, whose addresses are those in addresses"`
	Username string         `yaml:"username" help:"user of the sentinels"`
	Password setting.Secret `yaml:"password" help:"password of the user, or of the sentinels"`
}

// TLS is how connections are encrypted.
type TLS struct {
	Enabled     bool `yaml:"enabled" help:"connections are encrypted"`
	setting.TLS `yaml:",inline"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.Addresses) == 0, "addresses: want host:port")
	for _, a := range c.Addresses {
		host, port, err := net.SplitHostPort(a)
		n, notNumber := strconv.ParseUint(port, 10, 16)
		bad(err != nil || host == "" || notNumber != nil || n == 0, "addresses: want host:port, not %q", setting.WithoutUser(a))
	}
	bad(c.Username != "" && !c.Password.Given(), "username: want password as well")
	bad(c.Database < 0 || c.Database > 1<<20, "database: want 0 to %d, not %d", 1<<20, c.Database)
	s := c.Sentinel
	bad(s.Primary == "" && (s.Username != "" || s.Password.Given()), "sentinel.primary: want the primary's name")
	bad(s.Username != "" && !s.Password.Given(), "sentinel.username: want sentinel.password as well")
	bad(!c.TLS.Enabled && c.TLS.TLS != (setting.TLS{}), "tls.enabled: want true, or no other key of tls")
	if err := c.TLS.Validate(); err != nil {
		bad(true, "tls.%w", err)
	}
	bad(c.Timeout < 10*time.Millisecond || c.Timeout > 5*time.Minute, "timeout: want 10ms to 5m, not %v", c.Timeout)
	return errors.Join(errs...)
}

// How often the servers are asked who is the primary, in case that they do not say so themselves, and how much is in memory per connection.
const (
	refresh     = 5 * time.Second
	readBuffer  = 16 << 10
	writeBuffer = 64 << 10
)

// Dialer returns what makes a client, which connects again by itself and repeats no command. A connection on which comes what is larger than
// the bounds is closed. Dialer reads the files that c names.
func (c Config) Dialer(w *reload.Watcher, most Bounds) (func(context.Context) (rueidis.Client, error), error) {
	password, err := c.Password.Follow(w, nil)
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	sentinel, err := c.Sentinel.Password.Follow(w, nil)
	if err != nil {
		return nil, fmt.Errorf("sentinel.password: %w", err)
	}
	plain := net.Dialer{Timeout: c.Timeout}
	dial := plain.DialContext
	if c.TLS.Enabled {
		if dial, err = c.TLS.Dialer(w, &plain); err != nil {
			return nil, fmt.Errorf("tls.%w", err)
		}
	}
	options := rueidis.ClientOption{
		InitAddress:         c.Addresses,
		SelectDB:            c.Database,
		ClientName:          "longline",
		Dialer:              plain,
		ConnWriteTimeout:    c.Timeout,
		ReadBufferEachConn:  readBuffer,
		WriteBufferEachConn: writeBuffer,
		DisableCache:        true,
		DisableRetry:        true, // whoever uses the client does that
		Username:            c.Username,
		Sentinel:            rueidis.SentinelOption{MasterSet: c.Sentinel.Primary, Username: c.Sentinel.Username, Dialer: plain},
		ClusterOption:       rueidis.ClusterOption{ShardsRefreshInterval: refresh},
		DialCtxFn: func(ctx context.Context, address string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, c.Timeout)
			defer cancel()
			conn, err := dial(ctx, "tcp", address)
			if err != nil {
				return nil, err
			}
			return &guard{Conn: conn, most: most}, nil
		},
	}
	if c.Sentinel.Primary != "" {
		options.Sentinel.TopologyRefreshInterval = refresh
	} else { // with sentinels, rueidis would give them these credentials as well
		options.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			return rueidis.AuthCredentials{Username: c.Username, Password: string(password())}, nil
		}
	}
	if c.TLS.Enabled { // DialCtxFn makes the connections; this says which port of a node is meant
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		options.Sentinel.TLSConfig = options.TLSConfig
	}
	return func(context.Context) (rueidis.Client, error) {
		now := options
		now.Password, now.Sentinel.Password = string(password()), string(sentinel())
		return rueidis.NewClient(now)
	}, nil
}
