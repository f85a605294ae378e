package service

import (
	"cmp"
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// Config says where a service is and how it is called.
type Config struct {
	registry.Source `yaml:",inline"`
	Serve           bool `yaml:"serve" help:"there are no instances: backends answer the calls through the API"`
	Private         bool `yaml:"private" help:"only the gateway itself calls it: for devices there is no such service"`

	Choose      string        `yaml:"choose" help:"how an instance is chosen: round_robin, random, response_time (the quicker of two) or least (that with fewer calls of two)"`
	Protocol    string        `yaml:"protocol" help:"http (1.1, and 2 where TLS offers it), h2c (2, also without TLS) or grpc (for the calls of devices longline.v1.Backend)"`
	Timeout     time.Duration `yaml:"timeout" help:"how long a call may take, with its repetitions"`
	Concurrency int           `yaml:"concurrency" help:"calls under way at a time"`
	Waiting     int           `yaml:"waiting" help:"calls that may wait for one of these places; more are refused at once"`
	Idempotent  []string      `yaml:"idempotent" help:"methods that may be done twice, and so are repeated after any failure; * means all"`
	MaxAnswer   int           `yaml:"max_answer" unit:"bytes" help:"largest answer"`
	Accept      []string      `yaml:"accept" help:"content types of answers, such as application/json; other answers are refused with invalid_answer; left out, any"`

	Retries     int `yaml:"retries" help:"repetitions of a call on other instances, if it cannot have been done or is idempotent"`
	RetryBudget int `yaml:"retry_budget" help:"repetitions of all calls, in percent of the calls"`

	EjectAfter   int           `yaml:"eject_after" help:"failures in a row after which an instance is left out for a while; never more than half of them"`
	EjectFor     time.Duration `yaml:"eject_for" help:"for how long the first time; each time in a row twice as long"`
	EjectForMost time.Duration `yaml:"eject_for_most" help:"for how long at most"`
	OpenAfter    int           `yaml:"open_after" help:"failures in a row, of all instances, after which the circuit breaker opens and calls stop"`
	OpenFor      time.Duration `yaml:"open_for" help:"how long the circuit breaker stays open"`

	Probe Probe `yaml:"probe" help:"asks the instances whether they are well, besides calls"`

	TLS setting.TLS `yaml:"tls" help:"for https URLs"`
}

// Probe is a request that each instance gets from time to time. One that does not answer it with 2xx is left out until it does.
type Probe struct {
	Path  string        `yaml:"path" help:"path behind the URL of an instance, such as /healthz; left out, there are no probes"`
	Every time.Duration `yaml:"every" help:"how often each instance is asked; it has this time to answer, and at most timeout"`
}

// The values of Config.Protocol.
const (
	HTTP = "http"
	H2C  = "h2c"
	GRPC = "grpc"
)

// The values of Config.Choose.
const (
	RoundRobin   = "round_robin"
	Random       = "random"
	ResponseTime = "response_time"
	Least        = "least"
)

var (
	choices   = []string{RoundRobin, Random, ResponseTime, Least}
	protocols = []string{HTTP, H2C, GRPC}
)

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Source = c.Source.WithDefaults()
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
	c.Probe.Every = cmp.Or(c.Probe.Every, 10*time.Second)
	return c
}

// Sample returns c with the defaults of all sources of instances, for the documentation.
func (c Config) Sample() Config {
	c.Source = c.Source.Sample()
	return c
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	switch err := c.Source.Validate(); {
	case c.Serve && c.Source.Given():
		return errors.New("serve: want instances or serve, and not both")
	case !c.Serve && !c.Source.Given():
		return fmt.Errorf("%w, or serve: true", err)
	case !c.Serve && err != nil:
		return err
	}
	for _, m := range c.Idempotent {
		if m != anyMethod && !validMethod(m) {
			return fmt.Errorf("idempotent: want names of methods, 1 to 128 of A-Z a-z 0-9 . _ : -, or *, not %q", m)
		}
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
	switch p := c.Probe; {
	case p.Path != "" && (p.Path[0] != '/' || !validTarget(p.Path)):
		return fmt.Errorf("probe.path: want a path such as /healthz, not %q", p.Path)
	case p.Every < 100*time.Millisecond || p.Every > time.Hour:
		return fmt.Errorf("probe.every: want 100ms to 1h, not %v", p.Every)
	}
	for _, t := range c.Accept {
		if kind, params, err := mime.ParseMediaType(t); err != nil || len(params) > 0 || kind != t {
			return fmt.Errorf("accept: want content types such as application/json, not %q", t)
		}
	}
	if err := c.TLS.Validate(); err != nil {
		return fmt.Errorf("tls.%w", err)
	}
	return nil
}

// CheckFiles reads the files that c names. The error begins with the key.
func (c Config) CheckFiles(w *reload.Watcher) error {
	if _, err := c.TLS.Dialer(w, nil); err != nil {
		return fmt.Errorf("tls.%w", err)
	}
	if c.Serve {
		return nil
	}
	d, err := registry.Open(c.Source, w)
	if err == nil {
		d.Close()
	}
	return err
}

// anyMethod in Config.Idempotent is any method.
const anyMethod = "*"

// idempotent reports whether a method may be done twice.
func (c *Config) idempotent(method string) bool {
	return slices.Contains(c.Idempotent, anyMethod) || slices.Contains(c.Idempotent, method)
}
