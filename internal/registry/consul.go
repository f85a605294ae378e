package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// Consul finds instances in Consul.
type Consul struct {
	Address    string         `yaml:"address" help:"URL of a Consul agent"`
	Service    string         `yaml:"service" help:"the name of the service"`
	Tags       []string       `yaml:"tags" help:"tags that its instances have, all of them"`
	Datacenter string         `yaml:"datacenter" help:"where it is; left out, where the agent is"`
	Token      setting.Secret `yaml:"token" help:"ACL token; it needs service:read and node:read"`
	Scheme     string         `yaml:"scheme" help:"http or https: how the instances are called"`
	TLS        setting.TLS    `yaml:"tls" help:"for the agent, if its URL is https"`

	gateways bool // see instances
}

func (c *Consul) given() bool { return isGiven(c) }

func (c *Consul) setDefaults() {
	c.Address = cmp.Or(c.Address, "http://127.0.0.1:8500")
	c.Scheme = cmp.Or(c.Scheme, "http")
}

func (c *Consul) validate(key string) error {
	switch {
	case c.Service == "":
		return fmt.Errorf("%s.service: it is missing", key)
	case !slices.Contains(schemes, c.Scheme):
		return fmt.Errorf("%s.scheme: want http or https, not %q", key, c.Scheme)
	}
	if err := c.TLS.Validate(); err != nil {
		return fmt.Errorf("%s.tls.%w", key, err)
	}
	return validAddress(key+".address", c.Address)
}

func (c *Consul) open(w *reload.Watcher) (Discovery, error) {
	token, err := c.Token.Follow(w, nil)
	if err != nil {
		return nil, fmt.Errorf("token_file: %w", err)
	}
	caller, err := newClient(c.Address, c.TLS, w)
	if err != nil {
		return nil, err
	}
	return &consul{config: *c, client: caller, token: token}, nil
}

// consul is the Discovery of Consul. It asks by blocking queries
// (https://developer.hashicorp.com/consul/api-docs/features/blocking): each answer has an index, and the question
// with this index is answered when there is a higher one, or after a while.
type consul struct {
	config Consul
	client *client
	token  func() []byte

	index uint64 // of the last answer; 0 asks for one at once
}

func (c *consul) Pause() time.Duration { return 0 }

func (c *consul) Close() { c.client.close() }

func (c *consul) Find(ctx context.Context) ([]Instance, error) {
	index := c.index
	c.index = 0 // unless all goes well
	hold := time.Duration(0)
	query := url.Values{"passing": {"1"}, "tag": c.config.Tags}
	if c.config.Datacenter != "" {
		query.Set("dc", c.config.Datacenter)
	}
	if index > 0 {
		hold = holdTime
		query.Set("index", strconv.FormatUint(index, 10))
		query.Set("wait", hold.String())
	}
	header := make(http.Header)
	if token := c.token(); len(token) > 0 {
		header.Set("X-Consul-Token", string(token))
	}
	ctx, cancel := context.WithTimeout(ctx, hold+hold/16+answerTime) // Consul adds up to a sixteenth
	defer cancel()
	answered, body, err := c.client.get(ctx, "/v1/health/service/"+url.PathEscape(c.config.Service), query, header)
	if err != nil {
		return nil, err
	}
	all, err := parseConsul(body, c.config.Scheme)
	if err != nil {
		return nil, err
	}
	// An index that goes backwards is that of another life of the servers: what comes next is asked from the beginning.
	if next, err := strconv.ParseUint(answered.Get("X-Consul-Index"), 10, 64); err == nil && next >= index {
		c.index = next
	}
	return instances(all, c.config.gateways), nil
}

// parseConsul reads an answer of /v1/health/service.
func parseConsul(body []byte, scheme string) ([]found, error) {
	var entries few[struct {
		Node    struct{ Address string }
		Service struct {
			Address string
			Port    int
			Weights struct{ Passing float64 }
			Meta    metadata
		}
	}]
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("the answer is not Consul's: %w", err)
	}
	all := make([]found, len(entries))
	for i, e := range entries {
		s := &e.Service
		all[i] = found{scheme, cmp.Or(s.Address, e.Node.Address), s.Port, s.Weights.Passing, s.Meta}
	}
	return all, nil
}
