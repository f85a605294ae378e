package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/reload"
)

// How often the servers are asked who is the primary, in case that they do not say so themselves, and how much is in memory per connection.
const (
	refresh     = 5 * time.Second
	readBuffer  = 16 << 10
	writeBuffer = 64 << 10
)

// dialer returns what makes the client, for pump.Connection: it connects again by itself. dialer reads the files that c names.
func dialer(c Config, w *reload.Watcher) (func(context.Context) (rueidis.Client, error), error) {
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
		DisableRetry:        true, // the pump does that
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
			return &guard{Conn: conn}, nil
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
