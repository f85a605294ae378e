package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// Bounds of what a registry is asked.
const (
	maxAnswer   = 4 << 20          // bytes
	holdTime    = 50 * time.Second // for which a registry may hold a question until something changes
	answerTime  = 10 * time.Second // for an answer, beyond the time that a registry holds the question
	maxComplain = 200              // bytes of an answer that are shown in an error
)

// client calls a registry over HTTP.
type client struct {
	http    *http.Client
	address string // without a slash at the end
}

// newClient returns a client of the registry at a URL. Errors are about files of t, and begin with a key below that of the section.
func newClient(address string, t setting.TLS, w *reload.Watcher) (*client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // a registry is near
	transport.DisableCompression = true
	dial, err := t.Dialer(w, nil, "h2", "http/1.1")
	if err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	transport.DialTLSContext = dial
	// A connection of HTTP/2 whose peer has gone silently would be used again for each question.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second}
	// A redirect is not followed: headers may hold a token.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{
		http:    &http.Client{Transport: transport, CheckRedirect: stay},
		address: strings.TrimSuffix(address, "/"),
	}, nil
}

// validAddress returns what is wrong with the URL of a registry.
func validAddress(key, address string) error {
	if _, err := parseURL(address); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

// get returns the header and the whole body of the answer to a question. Another status than 200 is a *statusError.
func (c *client) get(ctx context.Context, path string, query url.Values, header http.Header) (http.Header, []byte, error) {
	response, err := c.open(ctx, path, query, header)
	if err != nil {
		return nil, nil, err
	}
	body, err := readAnswer(response)
	if err != nil {
		return nil, nil, err
	}
	return response.Header, body, nil
}

// send sends a request, and returns the whole answer if its status is below 300. Another status is a *statusError.
func (c *client) send(request *http.Request) ([]byte, error) {
	response, err := c.do(request)
	if err != nil {
		return nil, err
	}
	return readAnswer(response)
}

// readAnswer reads the body of an answer and closes it.
func readAnswer(response *http.Response) ([]byte, error) {
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the registry's answer ends too early: %w", err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the registry's answer is larger than %d bytes", maxAnswer)
	}
	return body, nil
}

// open asks a question and returns the answer, whose body the caller reads, and closes.
func (c *client) open(ctx context.Context, path string, query url.Values, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return nil, err
	}
	for key, values := range header {
		request.Header[key] = values
	}
	return c.do(request)
}

// do sends a request and returns the answer if its status is below 300.
func (c *client) do(request *http.Request) (*http.Response, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.explain(err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		defer response.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(response.Body, maxComplain))
		return nil, &statusError{response.StatusCode, strings.TrimSpace(string(text))}
	}
	return response, nil
}

// explain returns the error of a question without its long URL.
func (c *client) explain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", c.address, err)
}

func (c *client) close() { c.http.CloseIdleConnections() }

// statusError is an answer of a registry that is none.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the registry answers %d %s: %q", e.status, http.StatusText(e.status), e.text)
}
