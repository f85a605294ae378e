package service

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says where a service is and how it is called. Its instances come from one source.
type Config struct {
	Instances []string `yaml:"instances" help:"URLs of the instances, such as http://10.0.0.5:9000"`
	DNS       DNS      `yaml:"dns" help:"finds the instances by name"`

	Choose      string        `yaml:"choose" help:"how an instance is chosen: round_robin, random, response_time (the quicker of two) or least (that with fewer calls of two)"`
	Protocol    string        `yaml:"protocol" help:"http (1.1, and 2 where TLS offers it) or h2c (2 without TLS)"`
	Timeout     time.Duration `yaml:"timeout" help:"how long a call may take, with its repetitions"`
	Concurrency int           `yaml:"concurrency" help:"calls under way at a time"`
	Waiting     int           `yaml:"waiting" help:"calls that may wait for one of these places; more are refused at once"`
	MaxAnswer   int           `yaml:"max_answer" unit:"bytes" help:"largest answer"`

	Retries     int `yaml:"retries" help:"repetitions of a call on other instances, if it cannot have been done or is idempotent"`
	RetryBudget int `yaml:"retry_budget" help:"repetitions of all calls, in percent of the calls"`

	EjectAfter   int           `yaml:"eject_after" help:"failures in a row after which an instance is left out for a while; never more than half of them"`
	EjectFor     time.Duration `yaml:"eject_for" help:"for how long the first time; each time in a row twice as long"`
	EjectForMost time.Duration `yaml:"eject_for_most" help:"for how long at most"`
	OpenAfter    int           `yaml:"open_after" help:"failures in a row, of all instances, after which the circuit breaker opens and calls stop"`
	OpenFor      time.Duration `yaml:"open_for" help:"how long the circuit breaker stays open"`

	TLS TLS `yaml:"tls" help:"for https URLs"`
}

// DNS finds instances by name.
type DNS struct {
	Name     string        `yaml:"name" help:"a host name and a port, such as billing.internal:9000, each of whose addresses is an instance; or the name of SRV records, such as _http._tcp.billing.internal"`
	Scheme   string        `yaml:"scheme" help:"http or https"`
	Refresh  time.Duration `yaml:"refresh" help:"how often the name is looked up"`
	Resolver string        `yaml:"resolver" help:"address and port of the name server; left out, the system's"`
}

// TLS says which certificates a service has.
type TLS struct {
	CA         string `yaml:"ca" help:"PEM file with the authorities of the instances' certificates; left out, the system's; read again when it changes"`
	Cert       string `yaml:"cert" help:"PEM file with the certificate that the gateway presents; read again when it changes"`
	Key        string `yaml:"key" help:"PEM file with its private key"`
	ServerName string `yaml:"server_name" help:"the name in the instances' certificates; left out, the host of the URL"`
}

// The values of Config.Choose.
const (
	RoundRobin   = "round_robin"
	Random       = "random"
	ResponseTime = "response_time"
	Least        = "least"
)

var (
	choices   = []string{RoundRobin, Random, ResponseTime, Least}
	protocols = []string{"http", "h2c"}
	schemes   = []string{"http", "https"}
)

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Choose = cmp.Or(c.Choose, ResponseTime)
	c.Protocol = cmp.Or(c.Protocol, "http")
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.Concurrency = cmp.Or(c.Concurrency, 256)
	c.Waiting = cmp.Or(c.Waiting, 4096)
	c.MaxAnswer = cmp.Or(c.MaxAnswer, 256<<10)
	c.Retries = cmp.Or(c.Retries, 2)
	c.RetryBudget = cmp.Or(c.RetryBudget, 10)
	c.EjectAfter = cmp.Or(c.EjectAfter, 5)
	c.EjectFor = cmp.Or(c.EjectFor, 5*time.Second)
	c.EjectForMost = cmp.Or(c.EjectForMost, 5*time.Minute)
	c.OpenAfter = cmp.Or(c.OpenAfter, 50)
	c.OpenFor = cmp.Or(c.OpenFor, 5*time.Second)
	if c.DNS.Name != "" {
		c.DNS.Scheme = cmp.Or(c.DNS.Scheme, "http")
		c.DNS.Refresh = cmp.Or(c.DNS.Refresh, 30*time.Second)
	}
	return c
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	if (len(c.Instances) > 0) == (c.DNS.Name != "") {
		return errors.New("instances: want instances or dns, and not both")
	}
	for i, text := range c.Instances {
		if _, err := parseURL(text); err != nil {
			return fmt.Errorf("instances: %w", err)
		}
		if slices.Contains(c.Instances[:i], text) {
			return fmt.Errorf("instances: %s is listed twice", text)
		}
	}
	if err := c.DNS.validate(); err != nil {
		return fmt.Errorf("dns.%w", err)
	}
	for _, e := range []struct {
		key, value string
		of         []string
	}{{"choose", c.Choose, choices}, {"protocol", c.Protocol, protocols}} {
		if !slices.Contains(e.of, e.value) {
			return fmt.Errorf("%s: want one of %s, not %q", e.key, strings.Join(e.of, ", "), e.value)
		}
	}
	for _, e := range []struct {
		key   string
		value int
		most  int
	}{
		{"concurrency", c.Concurrency, 1 << 20}, {"waiting", c.Waiting, 1 << 20}, {"max_answer", c.MaxAnswer, 64 << 20}, {"retries", c.Retries, 10},
		{"retry_budget", c.RetryBudget, 100}, {"eject_after", c.EjectAfter, 1 << 20}, {"open_after", c.OpenAfter, 1 << 20},
	} {
		if e.value < 1 || e.value > e.most {
			return fmt.Errorf("%s: want 1 to %d, not %d", e.key, e.most, e.value)
		}
	}
	for _, e := range []struct {
		key   string
		value time.Duration
	}{{"timeout", c.Timeout}, {"eject_for", c.EjectFor}, {"eject_for_most", c.EjectForMost}, {"open_for", c.OpenFor}} {
		if e.value < time.Millisecond || e.value > time.Hour {
			return fmt.Errorf("%s: want 1ms to 1h, not %v", e.key, e.value)
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("tls.cert: want both cert and key, or none")
	}
	return nil
}

func (d DNS) validate() error {
	switch {
	case d == DNS{}:
		return nil
	case d.Name == "":
		return errors.New("name: it is missing")
	case !slices.Contains(schemes, d.Scheme):
		return fmt.Errorf("scheme: want http or https, not %q", d.Scheme)
	case d.Refresh < time.Second || d.Refresh > 24*time.Hour:
		return fmt.Errorf("refresh: want 1s to 24h, not %v", d.Refresh)
	}
	if !d.srv() {
		if _, port, err := net.SplitHostPort(d.Name); err != nil || port == "" {
			return fmt.Errorf("name: %s has no port; only the names of SRV records, which begin with _, have none", d.Name)
		}
	}
	if d.Resolver != "" {
		if _, _, err := net.SplitHostPort(d.Resolver); err != nil {
			return fmt.Errorf("resolver: want an address and a port, not %s", d.Resolver)
		}
	}
	return nil
}

// srv reports whether the name is that of SRV records, RFC 2782.
func (d *DNS) srv() bool { return strings.HasPrefix(d.Name, "_") }

// parseURL reads the URL of an instance.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is no URL", text)
	case !slices.Contains(schemes, u.Scheme) || u.Host == "":
		return nil, fmt.Errorf("want a URL such as http://10.0.0.5:9000, not %q", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%s: a URL of an instance has no user, query or fragment", u.Redacted())
	}
	return u, nil
}
