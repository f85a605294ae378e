package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/longline/longline/internal/sink/pump"
)

// link is a connection to a server. It is used until it ends: one that came back by itself would go on behind messages that were lost with the old one.
// Its methods are safe from any goroutine.
type link struct {
	// Static after construction.
	conn  *nats.Conn
	js    jetstream.JetStream
	ended chan struct{} // closed at the end

	mu sync.Mutex
	// Guarded by mu.
	lanes map[chan string]struct{} // get the subjects on which the user may not publish
	deaf  error                    // why no acknowledgements can come: the user may not subscribe to its inbox
}

// How soon a connection that is silent is given up, and how many messages of a lane may wait for acknowledgements.
const (
	pingEvery = 5 * time.Second
	pingsOut  = 2
	window    = 256
)

// dialer returns what makes connections, for pump.Connection. It reads the files that c names.
func dialer(c Config, o pump.Options) (func(context.Context) (*link, error), error) {
	configure, err := c.TLS.Client(o.Watcher)
	if err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	identify, err := identifier(c, o)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*link, error) {
		l := &link{ended: make(chan struct{}), lanes: make(map[chan string]struct{})}
		options := nats.GetDefaultOptions()
		options.Servers = c.Servers
		options.Name = "longline sink " + o.Name
		options.AllowReconnect = false
		options.Timeout, options.FlusherTimeout = c.Timeout, c.Timeout
		options.PingInterval, options.MaxPingsOut = pingEvery, pingsOut
		options.TLSConfig = configure("") // the name comes from the URL
		options.CustomDialer = dial{ctx, c.Timeout}
		options.ClosedCB = func(*nats.Conn) { close(l.ended) }
		options.AsyncErrorCB = l.note
		if err := identify(&options); err != nil {
			return nil, err
		}
		if l.conn, err = options.Connect(); err != nil {
			return nil, err
		}
		l.js, err = jetstream.New(l.conn, jetstream.WithPublishAsyncMaxPending(o.Lanes*window), jetstream.WithPublishAsyncTimeout(c.Timeout),
			jetstream.WithDefaultTimeout(c.Timeout))
		if err != nil {
			l.conn.Close()
			return nil, err
		}
		return l, nil
	}, nil
}

// identifier returns what says to a server who we are. It reads the secrets again for each connection.
func identifier(c Config, o pump.Options) (func(*nats.Options) error, error) {
	password, err := c.Password.Follow(o.Watcher, nil)
	if err != nil {
		return nil, fmt.Errorf("password: %w", err)
	}
	token, err := c.Token.Follow(o.Watcher, nil)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	seed, err := c.NKey.Follow(o.Watcher, unlessEmpty(checkSeed))
	if err != nil {
		return nil, fmt.Errorf("nkey: %w", err)
	}
	credentials, err := c.Credentials.Follow(o.Watcher, unlessEmpty(checkCredentials))
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return func(to *nats.Options) error {
		to.User, to.Password, to.Token = c.Username, string(password()), string(token())
		if text := credentials(); len(text) > 0 {
			return nats.UserCredentialBytes(text)(to)
		}
		if len(seed()) == 0 {
			return nil
		}
		keys, err := nkeys.FromSeed(seed())
		if err != nil {
			return err
		}
		if to.Nkey, err = keys.PublicKey(); err != nil {
			return err
		}
		to.SignatureCB = keys.Sign
		return nil
	}, nil
}

func unlessEmpty(check func([]byte) error) func([]byte) error {
	return func(text []byte) error {
		if len(text) == 0 {
			return nil
		}
		return check(text)
	}
}

// dial makes TCP connections until ctx ends.
type dial struct {
	ctx     context.Context //nolint:containedctx // the library's dialers have none
	timeout time.Duration
}

// Dial implements nats.CustomDialer.
func (d dial) Dial(network, address string) (net.Conn, error) {
	n := net.Dialer{Timeout: d.timeout}
	conn, err := n.DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &guard{Conn: conn}, nil
}

func (l *link) close() { l.conn.Close() }

var publishDenied = regexp.MustCompile(`(?i)permissions violation for publish to "([^"]+)"`)

// note takes an error that the server has told.
func (l *link) note(_ *nats.Conn, _ *nats.Subscription, err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	denied := publishDenied.FindStringSubmatch(err.Error())
	if denied == nil {
		l.deaf = err
		return
	}
	for lane := range l.lanes {
		select {
		case lane <- denied[1]:
		default: // it learns by the timeout
		}
	}
}

// watch returns a channel that gets the subjects on which the user may not publish, until unwatch.
func (l *link) watch() chan string {
	lane := make(chan string, window)
	l.mu.Lock()
	l.lanes[lane] = struct{}{}
	l.mu.Unlock()
	return lane
}

func (l *link) unwatch(lane chan string) {
	l.mu.Lock()
	delete(l.lanes, lane)
	l.mu.Unlock()
}

// why returns why there was no acknowledgement: err, or what is known better.
func (l *link) why(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deaf != nil {
		return l.deaf
	}
	return err
}
