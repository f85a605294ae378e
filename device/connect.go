package device

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// connect tries to connect until there is a link or the policy of reconnection ends the tries. err is why the last
// link ended; it is nil before the first one. Until the gateway has sent its first hello, a permanent
// failure ends the tries too. Later it does not: somebody may correct the configuration of the gateway, and
// the device in the field should then come back.
func (d *Device) connect(ctx context.Context, err error) (*link, error) {
	for {
		if err != nil {
			wait, ok := d.backoff.next(d.addresses.delay(time.Now(), err))
			if !ok {
				return nil, fmt.Errorf("device: gave up after %d tries: %w", d.backoff.tries, err)
			}
			d.enter(State{Phase: Disconnected, Err: err, Wait: wait}, nil)
			if err := sleep(ctx, wait, err); err != nil {
				return nil, err
			}
		}
		var l *link
		if l, err = d.round(ctx); err == nil {
			return l, nil
		}
		if ctx.Err() != nil || !d.met && permanent(err) {
			return nil, err
		}
	}
}

// round tries addresses, until there is a link. If there is none, the error is that of the last one that did not
// fail for good, if there is such.
func (d *Device) round(ctx context.Context) (l *link, err error) {
	if err := d.addresses.begin(ctx, &d.opts); err != nil {
		return nil, err
	}
	for a := d.addresses.next(time.Now()); a != nil; a = d.addresses.next(time.Now()) {
		d.enter(State{Phase: Connecting}, nil)
		header, failed := d.header(ctx)
		if failed != nil { // other addresses would not help
			return nil, failed
		}
		if l, failed = d.open(ctx, a, header); failed == nil {
			return l, nil
		}
		a.failed(failed, time.Now())
		if err == nil || permanent(err) || !permanent(failed) {
			err = failed
		}
		if ctx.Err() != nil {
			return nil, err
		}
	}
	if err == nil {
		err = errAllWait
	}
	return nil, err
}

// sleep waits for d. If ctx ends first, the error says why, and has the error after, which was the reason to wait.
func sleep(ctx context.Context, wait time.Duration, after error) error {
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w, after: %w", context.Cause(ctx), after)
	}
}

// open makes one attempt: it connects and waits for hello.
func (d *Device) open(ctx context.Context, a *address, header http.Header) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, d.opts.ConnectTimeout)
	defer cancel()
	began := time.Now()
	l := newLink(&d.opts)
	ws, response, err := websocket.Dial(ctx, d.target(a), &websocket.DialOptions{
		HTTPClient:     d.opts.HTTPClient,
		HTTPHeader:     header,
		Subprotocols:   []string{l.codec.Name()},
		OnPingReceived: func(context.Context, []byte) bool { l.hear(); return true },
		OnPongReceived: func(context.Context, []byte) { l.hear() },
	})
	if err != nil {
		return nil, refused(response, err)
	}
	l.ws = ws
	ws.SetReadLimit(int64(d.opts.MaxPayload))
	if err := l.greet(ctx); err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	a.greeted(time.Since(began), time.Now())
	return l, nil
}

// target returns the URL of an attempt. Clean is in it until the gateway has sent its first hello.
func (d *Device) target(a *address) string {
	u := *a.url
	if d.opts.Clean && !d.met {
		q := u.Query()
		q.Set("clean", "true")
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// header returns the request header of the next attempt.
func (d *Device) header(ctx context.Context) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, d.opts.ConnectTimeout)
	defer cancel()
	h := d.opts.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	token := d.opts.Token
	if d.opts.TokenSource != nil {
		var err error
		if token, err = d.opts.TokenSource(ctx); err != nil {
			return nil, fmt.Errorf("device: TokenSource: %w", err)
		}
	}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h, nil
}

// refused returns the StatusError of an upgrade that the gateway answered with an HTTP error.
func refused(r *http.Response, err error) error {
	if r == nil || r.StatusCode < 300 {
		return fmt.Errorf("device: %w", err)
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body) // websocket.Dial has kept the beginning of the body
	}
	return &StatusError{
		Code:       r.StatusCode,
		Reason:     strings.TrimSpace(string(body)),
		RetryAfter: parseRetryAfter(r.Header.Get("Retry-After"), time.Now()),
	}
}
