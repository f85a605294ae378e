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

// Options say who the device is and how it behaves. The zero value works where the URL
// names the device and the gateway asks for no credential.
type Options struct {
	// ID is what the device calls itself, sent as the query parameter `device`: 1 to 128 bytes of any kind; empty when the
	// path of the URL ends with it or the credential implies it.
	ID string
	// Token is sent as `Authorization: Bearer`.
	Token string
	// TokenSource, if set, is asked for the token before each attempt, within its time, and
	// again before the token expires: the gateway says when, and gets the next one in band.
	TokenSource func(ctx context.Context) (string, error)
	// Header is sent with each attempt.
	Header http.Header
	// TLS is for wss. HTTPClient, if set, makes the connections instead: TLS is then its
	// own, and it must not speak HTTP/2.
	TLS        *tls.Config
	HTTPClient *http.Client

	// Protocol is how packets are encoded.
	Protocol Protocol
	// Clean starts with a new session. Reconnections resume it all the same.
	Clean bool
	// SessionExpiry is how long the session outlives a connection, in whole seconds; 0 is
	// the gateway's default, a negative one ends the session with the connection.
	SessionExpiry time.Duration

	// Subscriptions are made by Dial. Their handlers are in place before the first message
	// of a resumed session comes; a later Subscribe could miss it.
	Subscriptions []Subscription
	// Calls are the first handlers of calls, by method: see HandleCall.
	Calls map[string]CallHandler
	// OnState is told every change of state, in order; a long one delays the next attempt.
	// It may publish, but not Close.
	OnState func(State)
	// Logger gets what no error return can say. Nil is silence.
	Logger *slog.Logger

	// Reconnect is the policy of coming back.
	Reconnect Reconnect
	// ConnectTimeout bounds one attempt, from the name lookup to hello. 0 is 30 s.
	ConnectTimeout time.Duration
	// ReadTimeout is the silence, pongs included, after which the gateway is given up. The
	// device pings before. 0 is twice the heartbeat that the gateway announces.
	ReadTimeout time.Duration
	// WriteTimeout bounds the writing of one packet. 0 is 30 s.
	WriteTimeout time.Duration

	// BufferMessages and BufferBytes bound the outbox: what was published and not yet
	// acknowledged (QoS 1) or written (QoS 0). 0 is 1000 messages, 1 MiB encoded.
	BufferMessages int
	BufferBytes    int
	// QueueMessages bounds the messages that wait for their handlers; when it is reached,
	// reading stops. 0 is 64.
	QueueMessages int
	// MaxCalls bounds the calls handled at a time; the next one is refused as `busy`. 0 is 8.
	MaxCalls int
	// MaxPayload bounds an inbound packet, in bytes as encoded. 0 is 4 MiB.
	MaxPayload int
}

// withDefaults returns a copy of o in which every zero is replaced by its meaning.
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

// positive returns v, or def where v is not above zero.
func positive[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// newClient returns a client for upgrades alone: HTTP/1.1 (RFC 6455 §4.1), nothing kept
// for later requests.
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

// target checks raw and adds what the options say about the device and its session.
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
