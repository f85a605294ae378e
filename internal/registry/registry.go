// Package registry knows where the instances of a service are: from a list, from DNS, or from a registry such as
// Consul.
package registry

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Instance is one address of a service.
type Instance struct {
	URL    string // http://HOST:PORT or https://HOST:PORT, perhaps with a path
	Weight int    // at least 1
}

// Discovery finds the instances of a service. One goroutine uses it, which is Follow's.
type Discovery interface {
	// Find returns the instances, in any order. Its first call, and one after an error, returns as soon as the
	// set is known. Otherwise a Discovery that is told of changes waits for one, for a minute at most; it may return for no reason. It
	// returns when ctx ends. The error says why the set is not known; the caller keeps the last one and asks again.
	Find(ctx context.Context) ([]Instance, error)
	// Pause is how long to wait before the next call of Find; 0 if Find itself waits for changes.
	Pause() time.Duration
	// Close gives back what the Discovery holds, such as connections. Nothing is called afterwards.
	Close()
}

const (
	maxInstances = 1000 // in a set; of a registry that names more, the first ones count
	maxWeight    = 1 << 16
	maxURL       = 2048 // bytes
)

// normal returns a set in the order of its URLs, each once, with sound weights. err names what is left out.
func normal(all []Instance) (set []Instance, err error) {
	for _, i := range all {
		if _, bad := parseURL(i.URL); bad != nil {
			err = fmt.Errorf("an instance is left out: %w", bad)
			continue
		}
		i.Weight = min(max(1, i.Weight), maxWeight)
		set = append(set, i)
	}
	slices.SortFunc(set, func(a, b Instance) int { return strings.Compare(a.URL, b.URL) })
	set = slices.CompactFunc(set, func(a, b Instance) bool { return a.URL == b.URL })
	if len(set) > maxInstances {
		err = fmt.Errorf("there are more than %d instances: the others are left out", maxInstances)
		set = set[:maxInstances]
	}
	return set, err
}

// newInstance returns the instance at a host and a port, which a registry has named; normal checks what comes out.
func newInstance(scheme, host, port string, weight int) Instance {
	u := url.URL{Scheme: scheme, Host: net.JoinHostPort(host, port)}
	return Instance{URL: u.String(), Weight: weight}
}

var schemes = []string{"http", "https"}

// parseURL reads the URL of an instance.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case len(text) > maxURL:
		return nil, fmt.Errorf("a URL is longer than %d bytes", maxURL)
	case err != nil:
		return nil, fmt.Errorf("want a URL such as http://10.0.0.5:9000, not %q", text)
	case !slices.Contains(schemes, u.Scheme) || u.Hostname() == "":
		return nil, fmt.Errorf("want a URL such as http://10.0.0.5:9000, not %q", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%s: a URL of an instance has no user, query or fragment", u.Redacted())
	case u.Port() == "0":
		return nil, fmt.Errorf("%s: there is no port 0", u)
	}
	return u, nil
}
