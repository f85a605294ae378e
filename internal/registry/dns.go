package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
)

// DNS finds instances by name.
type DNS struct {
	Name     string        `yaml:"name" help:"a host name and a port, such as billing.internal:9000, each of whose addresses is an instance; or the name of SRV records, such as _http._tcp.billing.internal"`
	Scheme   string        `yaml:"scheme" help:"http or https"`
	Refresh  time.Duration `yaml:"refresh" help:"how often the name is looked up"`
	Resolver string        `yaml:"resolver" help:"address and port of the name server, also for the hosts in SRV records; left out, the system's"`
}

func (d *DNS) given() bool { return isGiven(d) }

func (d *DNS) setDefaults() {
	d.Scheme = cmp.Or(d.Scheme, "http")
	d.Refresh = cmp.Or(d.Refresh, 30*time.Second)
}

func (d *DNS) validate(key string) error {
	switch {
	case d.Name == "":
		return fmt.Errorf("%s.name: it is missing", key)
	case !slices.Contains(schemes, d.Scheme):
		return fmt.Errorf("%s.scheme: want http or https, not %q", key, d.Scheme)
	case d.Refresh < time.Second || d.Refresh > 24*time.Hour:
		return fmt.Errorf("%s.refresh: want 1s to 24h, not %v", key, d.Refresh)
	}
	if !d.srv() {
		if _, port, err := net.SplitHostPort(d.Name); err != nil || port == "" {
			return fmt.Errorf("%s.name: %s has no port; only the names of SRV records, which begin with _, have none", key, d.Name)
		}
	}
	if d.Resolver != "" {
		if _, _, err := net.SplitHostPort(d.Resolver); err != nil {
			return fmt.Errorf("%s.resolver: want an address and a port, not %s", key, d.Resolver)
		}
	}
	return nil
}

func (d *DNS) open(*reload.Watcher) (Discovery, error) { return newNames(*d), nil }

// srv reports whether the name is that of SRV records, RFC 2782.
func (d *DNS) srv() bool { return strings.HasPrefix(d.Name, "_") }

// names is the Discovery of DNS: addresses of a host, or SRV records (RFC 2782), of which those with the lowest
// priority count.
type names struct {
	config   DNS
	resolver *net.Resolver
}

func newNames(c DNS) *names {
	return &names{config: c, resolver: c.NameServer()}
}

// NameServer returns the name server that knows the instances, and the hosts that their SRV records name; nil means the system's.
func (d *DNS) NameServer() *net.Resolver {
	if d.Resolver == "" {
		return nil
	}
	address := d.Resolver
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
}

func (n *names) Pause() time.Duration { return n.config.Refresh }

func (n *names) Close() {}

func (n *names) Find(ctx context.Context) ([]Instance, error) {
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
		all[i] = newInstance(n.config.Scheme, address, port, 1)
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
			all = append(all, newInstance(n.config.Scheme, strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)), int(r.Weight)))
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
