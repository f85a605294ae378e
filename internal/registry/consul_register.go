package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// RegisterConsul registers the gateway at an agent of Consul, with a check that has a time to live.
type RegisterConsul struct {
	Address string         `yaml:"address" help:"URL of the agent on the gateway's machine, such as http://127.0.0.1:8500, which it is when another option of the section is set"`
	Token   setting.Secret `yaml:"token" help:"ACL token; it needs service:write, and with gateway.nodes service:read and node:read"`
	Tags    []string       `yaml:"tags" help:"tags of the gateway"`
	Timeout time.Duration  `yaml:"timeout" help:"how long the agent may take to answer; 3s when left out"`
	TLS     setting.TLS    `yaml:"tls" help:"for an https URL"`
}

func (c *RegisterConsul) given() bool { return isGiven(c) }

func (c *RegisterConsul) setDefaults() {
	c.Address = c.discovery("").Address
	c.Timeout = cmp.Or(c.Timeout, 3*time.Second)
}

func (c *RegisterConsul) validate(key string) error {
	d := c.discovery("any")
	if err := d.validate(key); err != nil {
		return err
	}
	return validateTimeout(key, c.Timeout)
}

// discovery returns the options with which the gateways that are registered are found.
func (c *RegisterConsul) discovery(service string) *Consul {
	d := &Consul{Address: c.Address, Service: service, Token: c.Token, TLS: c.TLS, gateways: true}
	d.setDefaults()
	return d
}

func (c *RegisterConsul) openGateways(service string, w *reload.Watcher) (Discovery, error) {
	return c.discovery(service).open(w)
}

func (c *RegisterConsul) openRegistrar(self *Self, w *reload.Watcher) (announcer, error) {
	token, err := c.Token.Follow(w, nil)
	if err != nil {
		return nil, fmt.Errorf("token_file: %w", err)
	}
	s, err := openServers([]string{c.Address}, c.Timeout, c.TLS, w)
	if err != nil {
		return nil, err
	}
	return &consulRegistrar{servers: s, self: self, token: token, tags: c.Tags}, nil
}

// consulRegistrar is the announcer of Consul.
type consulRegistrar struct {
	servers *servers
	self    *Self
	token   func() []byte
	tags    []string
}

func (r *consulRegistrar) close() { r.servers.close() }

// check is the ID of the gateway's check.
func (r *consulRegistrar) check() string { return r.self.id() + "-alive" }

func (r *consulRegistrar) announce(ctx context.Context, s State) error {
	passing, _ := consulStatus(s)
	body, err := json.Marshal(map[string]any{
		"ID":      r.self.id(),
		"Name":    r.self.Service,
		"Address": r.self.Host,
		"Port":    r.self.Port,
		"Tags":    r.tags,
		"Meta":    r.self.Metadata,
		"Weights": map[string]int{"Passing": s.Weight, "Warning": 1},
		"Check": map[string]string{
			"CheckID": r.check(),
			"Name":    "takes devices",
			"TTL":     r.self.TTL.String(),
			"Status":  passing,
			// A gateway that died is critical until then, which operators may want to see.
			"DeregisterCriticalServiceAfter": max(time.Minute, 10*r.self.TTL).String(),
		},
	})
	if err != nil {
		return err
	}
	if err := r.put(ctx, "/v1/agent/service/register", url.Values{"replace-existing-checks": {"true"}}, body); err != nil {
		return err
	}
	return r.renew(ctx, s) // says why, if it is critical
}

// consulStatus returns the status of the check, and why.
func consulStatus(s State) (status, output string) {
	if s.Failed != "" {
		return "critical", s.Failed
	}
	return "passing", "the gateway takes devices"
}

func (r *consulRegistrar) renew(ctx context.Context, s State) error {
	passing, output := consulStatus(s)
	body, err := json.Marshal(map[string]string{"Status": passing, "Output": output})
	if err != nil {
		return err
	}
	err = r.put(ctx, "/v1/agent/check/update/"+r.check(), nil, body)
	// Versions of Consul say in different ways that they do not know the check. Whatever the refusal means, the next announcement finds out.
	if status(err) > 0 {
		return errForgotten
	}
	return err
}

func (r *consulRegistrar) leave(ctx context.Context) error {
	err := r.put(ctx, "/v1/agent/service/deregister/"+r.self.id(), nil, nil)
	if status(err) == http.StatusNotFound {
		return nil
	}
	return err
}

func (r *consulRegistrar) put(ctx context.Context, path string, params url.Values, body []byte) error {
	header := http.Header{}
	if token := r.token(); len(token) > 0 {
		header.Set("X-Consul-Token", string(token))
	}
	_, err := r.servers.ask(ctx, &question{method: http.MethodPut, path: path, query: params, header: header, body: body})
	return err
}
