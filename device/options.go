package device

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/longline/longline/internal/wire"
)

// Protocol is how packets are encoded; the subprotocol of the connection names it.
type Protocol uint8

const (
	JSON     Protocol = iota // longline.v1.json: text frames
	Protobuf                 // longline.v1.protobuf: binary frames, smaller
)

func (p Protocol) codec() wire.Codec {
	if p == Protobuf {
		return wire.Protobuf
	}
	return wire.JSON
}

// Options say who the device is and how it behaves. The zero value works if the URL
// names the device and the gateway asks for no credential.
type Options struct {
	// ID is what the device calls itself: 1 to 128 bytes of any kind. It is sent as the query parameter `device`. Leave it empty if the
	// path of the URL has the id, or if the credential implies it.
	ID string
	// Token is sent as `Authorization: Bearer`.
	Token string
	// TokenSource, if set, returns the token. It is called before each attempt, within ConnectTimeout, and
	// again before the token expires; the device then sends the new token over the live connection.
	TokenSource func(ctx context.Context) (string, error)
	// Header is sent with the request of each attempt.
	Header http.Header
	// TLS is for wss. HTTPClient, if set, makes the connections instead, with its own TLS configuration. It must not
	// speak HTTP/2.
	TLS        *tls.Config
	HTTPClient *http.Client

	// URLs are more addresses of the gateway, beside the one given to Dial, which may be empty then. Choose is how the device chooses one.
	URLs   []string
	Choose Choice

	// Protocol is how packets are encoded.
	Protocol Protocol
	// Clean makes Dial start a new session. Reconnections resume that session.
	Clean bool
	// SessionExpiry is how long the session outlives a connection, in whole seconds. 0 means
	// the gateway's default; a negative value ends the session with the connection.
	SessionExpiry time.Duration

	// Subscriptions are made by Dial. Their handlers are in place before the first message
	// of a resumed session arrives. A Subscribe after Dial could be too late for it.
	Subscriptions []Subscription
	// Calls are handlers of calls, by method, that are in place before the first call: see HandleCall.
	Calls map[string]CallHandler
	// OnState is called at every change of state, in order. While it runs, the next attempt waits.
	// It may publish, but must not call Close.
	OnState func(State)
	// Logger gets what no method can return as an error. Nil means no log.
	Logger *slog.Logger

	// Reconnect is the policy of reconnecting.
	Reconnect Reconnect
	// ConnectTimeout bounds one attempt, from the name lookup to hello. 0 means 30 s.
	ConnectTimeout time.Duration
	// ReadTimeout is how long nothing may arrive, not even a pong, before the device gives up the connection. The
	// device pings before that. 0 means twice the heartbeat that the gateway announces.
	ReadTimeout time.Duration
	// WriteTimeout bounds writing one packet. 0 means 30 s.
	WriteTimeout time.Duration

	// BufferMessages and BufferBytes bound the outbox: publications that are not yet
	// acknowledged (QoS 1) or written (QoS 0). 0 means 1000 messages, and 1 MiB encoded.
	BufferMessages int
	BufferBytes    int
	// QueueMessages bounds the messages that wait for their handlers. When it is reached,
	// the device stops reading. 0 means 64.
	QueueMessages int
	// MaxCalls bounds the calls that are handled at a time; further calls are refused with `busy`. 0 means 8.
	MaxCalls int
	// MaxPayload bounds an inbound packet, in encoded bytes. 0 means 4 MiB.
	MaxPayload int
}

// withDefaults returns a copy of o in which defaults replace zeros.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	c.Reconnect.setDefaults()
	c.ConnectTimeout = positive(c.ConnectTimeout, 30*time.Second)
	c.WriteTimeout = positive(c.WriteTimeout, 30*time.Second)
	c.BufferMessages = positive(c.BufferMessages, 1000)
	c.BufferBytes = positive(c.BufferBytes, 1<<20)
	c.QueueMessages = positive(c.QueueMessages, 64)
	c.MaxCalls = positive(c.MaxCalls, 8)
	c.MaxPayload = positive(c.MaxPayload, 4<<20)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.HTTPClient == nil {
		c.HTTPClient = newClient(c.TLS)
	}
	return c
}

// positive returns v, or def if v is not above zero.
func positive[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// newClient returns an HTTP client for upgrades: HTTP/1.1 (RFC 6455 §4.1), without idle
// connections.
func newClient(config *tls.Config) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Client{Transport: &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       (&net.Dialer{}).DialContext,
		TLSClientConfig:   config,
		Protocols:         &protocols,
		DisableKeepAlives: true,
	}}
}

// target checks the URL raw and adds the device id and the session's options to it.
func (o *Options) target(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("device: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss", "http", "https":
	default:
		return nil, fmt.Errorf("device: URL %q: the scheme is not ws or wss", u.Redacted())
	}
	if u.Host == "" {
		return nil, errors.New("device: the URL names no host")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/connect"
	}
	q := u.Query()
	if o.ID != "" {
		q.Set("device", o.ID)
	}
	if o.SessionExpiry != 0 {
		q.Set("expiry", strconv.FormatInt(int64(max(0, o.SessionExpiry)/time.Second), 10))
	}
	u.RawQuery = q.Encode()
	return u, nil
}
