package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// servers are the servers of one registry, which answer alike. One goroutine at a time uses them.
type servers struct {
	clients []*client
	timeout time.Duration // for one server's answer
	last    int           // the server that answered last
}

// question is what a registry is asked.
type question struct {
	method string
	path   string // behind a server's URL, escaped
	query  url.Values
	header http.Header
	body   []byte     // JSON, or
	form   url.Values // a form
}

// openServers makes servers of URLs. Errors are about files of t, and begin with a key below that of the section.
func openServers(addresses []string, timeout time.Duration, t setting.TLS, w *reload.Watcher) (*servers, error) {
	s := &servers{timeout: timeout}
	for _, a := range addresses {
		c, err := newClient(a, t, w)
		if err != nil {
			return nil, err
		}
		s.clients = append(s.clients, c)
	}
	return s, nil
}

// ask asks the server that answered last. If it does not answer, or with a status of 500 or more, ask goes on to the next one, until all were asked
// once. An answer with a status from 300 to 499 is a *statusError.
func (s *servers) ask(ctx context.Context, q *question) (body []byte, err error) {
	var failed []error
	for range s.clients {
		body, err = s.askOne(ctx, s.clients[s.last], q)
		if err == nil || status(err) > 0 && status(err) < http.StatusInternalServerError {
			return body, err
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
		s.last = (s.last + 1) % len(s.clients)
	}
	return nil, errors.Join(failed...)
}

func (s *servers) askOne(ctx context.Context, c *client, q *question) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	target := c.address + q.path
	if len(q.query) > 0 {
		target += "?" + q.query.Encode()
	}
	body, kind := q.body, "application/json"
	if q.form != nil {
		body, kind = []byte(q.form.Encode()), "application/x-www-form-urlencoded"
	}
	request, err := http.NewRequestWithContext(ctx, q.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, c.explain(err)
	}
	for name, values := range q.header {
		request.Header[name] = values
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", kind)
	}
	return c.send(request)
}

func (s *servers) close() {
	for _, c := range s.clients {
		c.close()
	}
}

// status returns the status of an answer that is err; 0 if there was no answer.
func status(err error) int {
	if answer := new(statusError); errors.As(err, &answer) {
		return answer.status
	}
	return 0
}

// validateServers checks the URLs of a registry's servers.
func validateServers(key string, addresses []string) error {
	if len(addresses) == 0 {
		return fmt.Errorf("%s.servers: there is none: want URLs", key)
	}
	for _, a := range addresses {
		if err := validAddress(key+".servers", a); err != nil {
			return err
		}
	}
	return nil
}

// withPath returns URLs, with this path where they have none.
func withPath(addresses []string, path string) []string {
	all := make([]string, len(addresses))
	for i, a := range addresses {
		all[i] = strings.TrimSuffix(a, "/")
		if u, err := url.Parse(a); err == nil && strings.Trim(u.Path, "/") == "" {
			all[i] += path
		}
	}
	return all
}
