package device

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// nodesPath is the end of the path of a list of nodes.
const nodesPath = "/v1/nodes"

// Bounds of a list of nodes.
const (
	maxNodes      = 256
	maxNodesBytes = 64 << 10
	nodesTimeout  = 10 * time.Second
	nodesFor      = 5 * time.Second // how long a list is used without asking again
)

// errNoNodes is the outcome of a round without an address.
var errNoNodes = errors.New("device: the list of nodes is empty: none takes devices now")

// nodeList is the URL of a list of nodes. Dial, and then run, own it.
type nodeList struct {
	url    *url.URL  // where the list is
	alone  *url.URL  // where to connect if that gateway keeps no list: it is the only node
	asked  time.Time // when it was fetched, or could not be fetched, last
	secure bool      // the list came over TLS
}

// newNodeList takes a URL that has the device's id and the session's options in its query.
func newNodeList(u *url.URL) *nodeList {
	list, alone := *u, *u
	list.RawQuery = ""
	list.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	if list.Scheme == "" {
		list.Scheme = u.Scheme
	}
	alone.Path = strings.TrimSuffix(u.Path, nodesPath) + "/connect"
	return &nodeList{url: &list, alone: &alone, secure: list.Scheme == "https"}
}

// due reports whether the list is to be fetched.
func (l *nodeList) due() bool { return l.asked.IsZero() || time.Since(l.asked) >= nodesFor }

// fetch returns the addresses in the list.
func (l *nodeList) fetch(ctx context.Context, o *Options) ([]*address, error) {
	l.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, min(nodesTimeout, o.ConnectTimeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("device: the list of nodes: %w", err)
	}
	client := *o.HTTPClient
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // to where TLS may be missing
	response, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("device: the list of nodes: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxNodesBytes+1))
	switch {
	case response.StatusCode == http.StatusUpgradeRequired: // there is no list
		return []*address{{url: l.alone, weight: 1}}, nil
	case response.StatusCode != http.StatusOK:
		return nil, &StatusError{
			Code:       response.StatusCode,
			Reason:     "the list of nodes: " + firstLine(body),
			RetryAfter: parseRetryAfter(response.Header.Get("Retry-After"), time.Now()),
		}
	case err != nil:
		return nil, fmt.Errorf("device: the list of nodes: %w", err)
	case len(body) > maxNodesBytes:
		return nil, fmt.Errorf("device: the list of nodes is larger than %d bytes", maxNodesBytes)
	}
	return l.parse(body, o)
}

// firstLine returns the beginning of a text, for an error.
func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text[:min(len(text), 256)])), "\n")
	return line
}

// parse returns the addresses in a list. It leaves out those that it does not understand, and unencrypted ones if the list came over TLS:
// the device's credential would go there.
func (l *nodeList) parse(body []byte, o *Options) (all []*address, err error) {
	var list struct {
		Nodes []struct {
			URL    string
			Weight int
		}
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("device: the list of nodes: %w", err)
	}
	for _, n := range list.Nodes {
		scheme, _, _ := strings.Cut(n.URL, ":")
		if len(all) == maxNodes || scheme != "wss" && (scheme != "ws" || l.secure) {
			continue
		}
		u, err := o.target(n.URL)
		if err != nil || contains(all, u) {
			continue
		}
		all = append(all, &address{url: u, weight: min(max(1, n.Weight), 100)})
	}
	switch {
	case len(all) > 0:
		return all, nil
	case len(list.Nodes) > 0:
		return nil, errors.New("device: the list of nodes has no address that the device may use")
	}
	return nil, errNoNodes
}

func contains(all []*address, u *url.URL) bool {
	for _, a := range all {
		if a.url.String() == u.String() {
			return true
		}
	}
	return false
}
