package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/reload"
)

// transport sends requests to instances. All methods are safe from any goroutine.
type transport interface {
	// send sends r to an instance and reads the whole answer, of Config.MaxAnswer bytes at most. It returns soon when ctx ends. sent reports
	// whether the instance may have the request. The error is ErrTooLarge, wraps ErrInvalid, or says why there is no answer.
	send(ctx context.Context, i *instance, r *Request) (a *Answer, sent bool, err error)
	// sweep closes connections that have been idle for long. It is called from time to time.
	sweep(now time.Time)
	// close closes idle connections, and those that become idle.
	close()
}

// newTransports returns the transports for instances with the schemes http and https.
func newTransports(c *Config, w *reload.Watcher) (plain, secure transport, err error) {
	t, err := newHTTPTransport(c, w)
	if err != nil {
		return nil, nil, err
	}
	client := &http.Client{Transport: t, CheckRedirect: stay}
	switch c.Protocol {
	case GRPC:
		secure = &grpc{client: client, most: c.MaxAnswer}
		return secure, secure, nil
	case H2C:
		secure = &netHTTP{client: client, most: c.MaxAnswer}
		return secure, secure, nil
	}
	return newHTTP1(c), &netHTTP{client: client, most: c.MaxAnswer}, nil
}

// stay makes the client follow no redirect: calls go where the configuration says and nowhere else.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// dialer returns what makes connections. A host that does not answer has a third of the time, so that another instance can be
// tried.
func (c *Config) dialer() net.Dialer {
	return net.Dialer{Timeout: max(c.Timeout/3, time.Second), Resolver: c.Source.DNS.NameServer()}
}

func newHTTPTransport(c *Config, w *reload.Watcher) (*http.Transport, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil // instances are near
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, c.Concurrency
	t.IdleConnTimeout = idleTime
	t.MaxResponseHeaderBytes = maxHeader
	t.DisableCompression = true
	if c.Protocol != HTTP {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
		t.Protocols.SetHTTP2(true)
	}
	dialer := c.dialer()
	t.DialContext = dialer.DialContext
	dial, err := c.TLS.Dialer(w, &dialer, "h2", "http/1.1")
	if err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialer.Timeout)
		defer cancel()
		return dial(ctx, network, address)
	}
	return t, nil
}

// netHTTP is the transport for HTTP/1.1 with TLS and for HTTP/2: net/http's client.
type netHTTP struct {
	client *http.Client
	most   int
}

// send implements transport.
func (n *netHTTP) send(ctx context.Context, i *instance, r *Request) (a *Answer, sent bool, err error) {
	ctx, wrote := traced(ctx)
	request, err := http.NewRequestWithContext(ctx, r.Method, i.URL+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, false, err
	}
	r.eachHeader(func(key, value string) { request.Header[key] = append(request.Header[key], value) })
	request.GetBody = nil // the transport itself repeats nothing
	a, err = n.roundTrip(request)
	if a != nil {
		a.Instance = i.URL
	}
	return a, wrote.Load(), err
}

// traced returns a context for a request of net/http; wrote says from when on the instance may have the request.
func traced(ctx context.Context) (_ context.Context, wrote *atomic.Bool) {
	wrote = new(atomic.Bool)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }}), wrote
}

func (n *netHTTP) roundTrip(request *http.Request) (*Answer, error) {
	response, err := n.client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer response.Body.Close()
	body, err := readBody(response, n.most)
	if err != nil {
		return nil, err
	}
	return answerOf(response, body), nil
}

// answerOf returns an answer of net/http as an Answer.
func answerOf(r *http.Response, body []byte) *Answer {
	return &Answer{
		Status: r.StatusCode, ContentType: r.Header.Get(contentType), Encoding: r.Header.Get(encodingHeader),
		Code: r.Header.Get(errorHeader), RetryAfter: r.Header.Get(retryHeader), Body: body,
	}
}

// sweep implements transport: net/http does so itself.
func (n *netHTTP) sweep(time.Time) {}

// close implements transport.
func (n *netHTTP) close() { n.client.CloseIdleConnections() }

// readBody reads the body of an answer, of up to most bytes.
func readBody(r *http.Response, most int) (body []byte, err error) {
	switch {
	case r.ContentLength > int64(most):
		return nil, ErrTooLarge
	case r.ContentLength >= 0 && r.ContentLength <= exact:
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, body)
		return body, err
	}
	body, err = io.ReadAll(io.LimitReader(r.Body, int64(most)+1))
	if len(body) > most {
		return nil, ErrTooLarge
	}
	return body, err
}

// exact is up to which size the buffer of an answer is made as the answer says; beyond, it grows with what comes.
const exact = 4 << 10

// withoutURL returns the error inside of an *url.Error: the instance is named elsewhere, and the path may be a device's.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
