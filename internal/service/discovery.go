package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Instance is one address of a service.
type Instance struct {
	URL    string // http://HOST:PORT or https://HOST:PORT, perhaps with a path
	Weight int    // at least 1
}

// Discovery finds the instances of a service.
type Discovery interface {
	// Find returns the present instances, in any order. after is what it returned last, nil at first: one that can wait for a change
	// returns when the set differs from it, or when ctx ends. The error says why the set is not known; the caller keeps the last
	// one and asks again.
	Find(ctx context.Context, after []Instance) ([]Instance, error)
	// Pause is how long to wait between two calls of Find; 0 if Find waits itself.
	Pause() time.Duration
}

// maxInstances bounds a set; a registry that names more is cut.
const maxInstances = 1000

// list is the Discovery of a list.
type list []Instance

func (l list) Find(context.Context, []Instance) ([]Instance, error) { return l, nil }

func (l list) Pause() time.Duration { return time.Hour }

func newList(urls []string) list {
	l := make(list, len(urls))
	for i, u := range urls {
		l[i] = Instance{URL: strings.TrimSuffix(u, "/"), Weight: 1}
	}
	return l
}

// names is the Discovery of DNS: addresses of a host, or SRV records (RFC 2782), of which those with the lowest
// priority count.
type names struct {
	config   DNS
	resolver *net.Resolver
}

func newNames(c DNS) *names {
	n := &names{config: c, resolver: net.DefaultResolver}
	if c.Resolver != "" {
		n.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.Resolver)
		}}
	}
	return n
}

func (n *names) Pause() time.Duration { return n.config.Refresh }

func (n *names) Find(ctx context.Context, _ []Instance) ([]Instance, error) {
	if n.config.srv() {
		return n.records(ctx)
	}
	host, port, err := net.SplitHostPort(n.config.Name)
	if err != nil {
		return nil, err
	}
	found, err := n.resolver.LookupHost(ctx, host)
	if err != nil {
		return nil, unlessNone(err)
	}
	all := make([]Instance, len(found))
	for i, address := range found {
		all[i] = n.instance(address, port, 1)
	}
	return all, nil
}

func (n *names) records(ctx context.Context) ([]Instance, error) {
	_, found, err := n.resolver.LookupSRV(ctx, "", "", n.config.Name)
	if err != nil {
		return nil, unlessNone(err)
	}
	var all []Instance
	for _, r := range found { // sorted by priority
		if r.Priority == found[0].Priority {
			all = append(all, n.instance(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)), max(1, int(r.Weight))))
		}
	}
	return all, nil
}

// unlessNone returns err, unless it says that there are no such records: that is an answer.
func unlessNone(err error) error {
	var e *net.DNSError
	if errors.As(err, &e) && e.IsNotFound {
		return nil
	}
	return err
}

func (n *names) instance(host, port string, weight int) Instance {
	u := url.URL{Scheme: n.config.Scheme, Host: net.JoinHostPort(host, port)}
	return Instance{URL: u.String(), Weight: weight}
}

// normal returns a set in the order of its URLs, each once, with sound weights. A URL that is none is left out and named by err.
func normal(all []Instance) (set []Instance, err error) {
	for _, i := range all {
		if _, bad := parseURL(i.URL); bad != nil {
			err = fmt.Errorf("an instance is left out: %w", bad)
			continue
		}
		i.Weight = min(max(1, i.Weight), 1<<16)
		set = append(set, i)
	}
	slices.SortFunc(set, func(a, b Instance) int { return strings.Compare(a.URL, b.URL) })
	set = slices.CompactFunc(set, func(a, b Instance) bool { return a.URL == b.URL })
	return set[:min(len(set), maxInstances)], err
}
