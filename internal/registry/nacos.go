package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// Nacos finds instances in Nacos: 1.x, 2.x, and 3.x as long as it answers clients of 2.x, which is its default.
type Nacos struct {
	Servers   []string       `yaml:"servers" help:"URLs of the servers, such as http://10.0.0.5:8848; if one does not answer, the next one is asked. Without a path it is /nacos"`
	Service   string         `yaml:"service" help:"name of the service"`
	Namespace string         `yaml:"namespace" help:"id of the namespace; left out, public"`
	Group     string         `yaml:"group" help:"group of the service; DEFAULT_GROUP when left out"`
	Clusters  []string       `yaml:"clusters" help:"clusters whose instances count; all when left out"`
	Scheme    string         `yaml:"scheme" help:"http or https: how the instances are called; http when left out"`
	Refresh   time.Duration  `yaml:"refresh" help:"how often the instances are looked up; 5s when left out"`
	Timeout   time.Duration  `yaml:"timeout" help:"how long a server may take to answer; 3s when left out"`
	User      string         `yaml:"user" help:"user, if Nacos asks for one"`
	Password  setting.Secret `yaml:"password" help:"its password"`
	TLS       setting.TLS    `yaml:"tls" help:"for https URLs of servers"`

	gateways bool // see instances
}

func (c *Nacos) given() bool { return isGiven(c) }

func (c *Nacos) setDefaults() {
	c.Group = cmp.Or(c.Group, "DEFAULT_GROUP")
	c.Scheme = cmp.Or(c.Scheme, "http")
	c.Refresh = cmp.Or(c.Refresh, 5*time.Second)
	c.Timeout = cmp.Or(c.Timeout, 3*time.Second)
}

func (c *Nacos) validate(key string) error {
	if err := validateServers(key, c.Servers); err != nil {
		return err
	}
	switch {
	case c.Service == "":
		return fmt.Errorf("%s.service: it is missing", key)
	case strings.Contains(c.Service, "@@") || strings.Contains(c.Group, "@@"):
		return fmt.Errorf("%s.service: @@ separates group and service: name the group in group", key)
	case !slices.Contains(schemes, c.Scheme):
		return fmt.Errorf("%s.scheme: want http or https, not %q", key, c.Scheme)
	case (c.User == "") == c.Password.Given():
		return fmt.Errorf("%s.user: want both user and password, or none", key)
	}
	return validatePolling(key, c.Refresh, c.Timeout, c.TLS)
}

// validatePolling checks the options that all registries have that are asked again and again.
func validatePolling(key string, refresh, timeout time.Duration, t setting.TLS) error {
	if refresh < time.Second || refresh > time.Hour {
		return fmt.Errorf("%s.refresh: want 1s to 1h, not %v", key, refresh)
	}
	if err := t.Validate(); err != nil {
		return fmt.Errorf("%s.tls.%w", key, err)
	}
	return validateTimeout(key, timeout)
}

// validateTimeout checks for how long a server may take to answer.
func validateTimeout(key string, timeout time.Duration) error {
	if timeout < 100*time.Millisecond || timeout > 30*time.Second {
		return fmt.Errorf("%s.timeout: want 100ms to 30s, not %v", key, timeout)
	}
	return nil
}

func (c *Nacos) open(w *reload.Watcher) (Discovery, error) { return openNacos(*c, w) }

// nacos is a Nacos as its client sees it. One goroutine at a time uses it.
type nacos struct {
	config   Nacos
	servers  *servers
	password func() []byte

	// What the last login gave.
	token string
	renew time.Time // when the next login is due
}

func openNacos(c Nacos, w *reload.Watcher) (*nacos, error) {
	password, err := c.Password.Follow(w, nil)
	if err != nil {
		return nil, fmt.Errorf("password_file: %w", err)
	}
	s, err := openServers(withPath(c.Servers, "/nacos"), c.Timeout, c.TLS, w)
	if err != nil {
		return nil, err
	}
	return &nacos{config: c, servers: s, password: password}, nil
}

func (n *nacos) Pause() time.Duration { return n.config.Refresh }

func (n *nacos) Close() { n.servers.close() }

// Find implements Discovery.
func (n *nacos) Find(ctx context.Context) ([]Instance, error) {
	params := n.params()
	params.Set("healthyOnly", "true")
	if len(n.config.Clusters) > 0 {
		params.Set("clusters", strings.Join(n.config.Clusters, ","))
	}
	body, err := n.ask(ctx, http.MethodGet, "/v1/ns/instance/list", params)
	if err != nil {
		return nil, err
	}
	all, err := parseNacos(body, n.config.Scheme)
	if err != nil {
		return nil, fmt.Errorf("the answer of Nacos is not understood: %w", err)
	}
	return instances(all, n.config.gateways), nil
}

// params returns what names the service in each request.
func (n *nacos) params() url.Values {
	params := url.Values{"serviceName": {n.config.Group + "@@" + n.config.Service}, "groupName": {n.config.Group}}
	if n.config.Namespace != "" {
		params.Set("namespaceId", n.config.Namespace)
	}
	return params
}

// ask asks Nacos, as the user if there is one. When Nacos refuses the token, which a restart or a change of its key may cause, ask logs in again, once.
func (n *nacos) ask(ctx context.Context, method, path string, params url.Values) ([]byte, error) {
	for again := false; ; again = true {
		header, err := n.authorization(ctx)
		if err != nil {
			return nil, err
		}
		body, err := n.servers.ask(ctx, &question{method: method, path: path, query: params, header: header})
		refused := status(err) == http.StatusForbidden || status(err) == http.StatusUnauthorized
		if !refused || n.token == "" || again {
			return body, err
		}
		n.token = ""
	}
}

// authorization returns the header that shows the token. It logs in if there is none, or if less than a fifth of its time is left.
func (n *nacos) authorization(ctx context.Context) (http.Header, error) {
	if n.config.User == "" {
		return nil, nil
	}
	if n.token == "" || !time.Now().Before(n.renew) {
		if err := n.logIn(ctx); err != nil {
			return nil, fmt.Errorf("login: %w", err)
		}
	}
	return http.Header{"Authorization": {"Bearer " + n.token}}, nil
}

// logIn gets a token. The password is in the body, because proxies log URLs.
func (n *nacos) logIn(ctx context.Context) error {
	body, err := n.servers.ask(ctx, &question{
		method: http.MethodPost,
		path:   "/v1/auth/login",
		form:   url.Values{"username": {n.config.User}, "password": {string(n.password())}},
	})
	if err != nil {
		return err
	}
	token, ttl, err := parseNacosLogin(body)
	if err != nil {
		return err
	}
	n.token, n.renew = token, time.Now().Add(ttl*4/5)
	return nil
}

var (
	errNoToken = errors.New("Nacos has answered no token")
	errNoHosts = errors.New("it has no hosts")
)

// Bounds of a token's time: what Nacos says may be anything.
const (
	leastTokenTime = 5 * time.Second
	mostTokenTime  = 24 * time.Hour
)

func parseNacosLogin(body []byte) (token string, ttl time.Duration, err error) {
	var a struct {
		AccessToken string
		TokenTTL    float64 `json:"tokenTtl"` // seconds
	}
	switch err := json.Unmarshal(body, &a); {
	case err != nil:
		return "", 0, errNoToken
	case a.AccessToken == "" || strings.ContainsFunc(a.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", 0, errNoToken
	}
	seconds := min(max(leastTokenTime.Seconds(), a.TokenTTL), mostTokenTime.Seconds())
	return a.AccessToken, time.Duration(seconds * float64(time.Second)), nil
}

// parseNacos reads a list of instances: those that are healthy, enabled, and have a weight.
func parseNacos(body []byte, scheme string) ([]found, error) {
	var list struct {
		Hosts *few[struct {
			IP               string
			Port             int
			Weight           float64
			Healthy, Enabled bool
			Metadata         metadata
		}]
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	if list.Hosts == nil {
		return nil, errNoHosts
	}
	var all []found
	for _, h := range *list.Hosts {
		if h.Healthy && h.Enabled && h.Weight > 0 {
			all = append(all, found{scheme, h.IP, h.Port, h.Weight, h.Metadata})
		}
	}
	return all, nil
}
