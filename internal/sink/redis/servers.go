package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/sync/singleflight"

	"github.com/longline/longline/internal/reload"
)

// servers are the connections to the servers. Its methods are safe from any goroutine.
type servers struct {
	// Static after open.
	options  rueidis.ClientOption
	password func() []byte   // of the servers
	sentinel func() []byte   // of the sentinels
	life     context.Context // ends with close
	end      context.CancelFunc
	connect  singleflight.Group

	mu sync.Mutex
	// Guarded by mu.
	current rueidis.Client // nil before the first success
	closed  bool
}

// How often the servers are asked who is the primary, in case that they do not say so themselves, and how much is in memory per connection.
const (
	refresh     = 5 * time.Second
	readBuffer  = 16 << 10
	writeBuffer = 64 << 10
)

// open reads the files that c names.
func (s *servers) open(c Config, w *reload.Watcher) error {
	var err error
	if s.password, err = c.Password.Follow(w, nil); err != nil {
		return fmt.Errorf("password: %w", err)
	}
	if s.sentinel, err = c.Sentinel.Password.Follow(w, nil); err != nil {
		return fmt.Errorf("sentinel.password: %w", err)
	}
	dialer := net.Dialer{Timeout: c.Timeout}
	dial := dialer.DialContext
	if c.TLS.Enabled {
		if dial, err = c.TLS.Dialer(w, &dialer); err != nil {
			return fmt.Errorf("tls.%w", err)
		}
	}
	s.life, s.end = context.WithCancel(context.Background())
	s.options = rueidis.ClientOption{
		InitAddress:         c.Addresses,
		SelectDB:            c.Database,
		ClientName:          "longline",
		Dialer:              dialer,
		ConnWriteTimeout:    c.Timeout,
		ReadBufferEachConn:  readBuffer,
		WriteBufferEachConn: writeBuffer,
		DisableCache:        true,
		DisableRetry:        true, // the pump does that
		Username:            c.Username,
		Sentinel:            rueidis.SentinelOption{MasterSet: c.Sentinel.Primary, Username: c.Sentinel.Username, Dialer: dialer},
		ClusterOption:       rueidis.ClusterOption{ShardsRefreshInterval: refresh},
		DialCtxFn: func(ctx context.Context, address string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, c.Timeout)
			defer cancel()
			defer context.AfterFunc(s.life, cancel)()
			return dial(ctx, "tcp", address)
		},
	}
	if c.Sentinel.Primary != "" {
		s.options.Sentinel.TopologyRefreshInterval = refresh
	} else { // with sentinels, rueidis would give them these credentials as well
		s.options.AuthCredentialsFn = func(rueidis.AuthCredentialsContext) (rueidis.AuthCredentials, error) {
			return rueidis.AuthCredentials{Username: c.Username, Password: string(s.password())}, nil
		}
	}
	if c.TLS.Enabled { // DialCtxFn makes the connections; this says which port of a node is meant
		s.options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		s.options.Sentinel.TLSConfig = s.options.TLSConfig
	}
	return nil
}

var errClosed = errors.New("the sink is closed")

// client returns the client, which is made by the first call. It waits no longer than ctx.
func (s *servers) client(ctx context.Context) (rueidis.Client, error) {
	s.mu.Lock()
	c, closed := s.current, s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case c != nil:
		return c, nil
	}
	select {
	case r := <-s.connect.DoChan("", s.make):
		c, _ := r.Val.(rueidis.Client)
		return c, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// make makes the client.
func (s *servers) make() (any, error) {
	options := s.options
	options.Password, options.Sentinel.Password = string(s.password()), string(s.sentinel())
	c, err := rueidis.NewClient(options)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return nil, errClosed
	}
	s.current = c
	return c, nil
}

// close ends all connections.
func (s *servers) close() {
	s.mu.Lock()
	c := s.current
	s.closed = true
	s.mu.Unlock()
	s.end()
	if c != nil {
		c.Close()
	}
}
