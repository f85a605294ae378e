package registry

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// Eureka finds instances in Netflix Eureka, as Spring Cloud uses it.
type Eureka struct {
	Servers  []string       `yaml:"servers" help:"URLs of the servers, such as http://10.0.0.5:8761; if one does not answer, the next one is asked. Without a path it is /eureka"`
	Service  string         `yaml:"service" help:"name of the application, in upper or lower case"`
	Refresh  time.Duration  `yaml:"refresh" help:"how often the instances are looked up; 10s when left out. The server's own cache may be 30s old besides"`
	Timeout  time.Duration  `yaml:"timeout" help:"how long a server may take to answer; 3s when left out"`
	User     string         `yaml:"user" help:"user, if the servers ask for one (HTTP Basic)"`
	Password setting.Secret `yaml:"password" help:"its password"`
	TLS      setting.TLS    `yaml:"tls" help:"for https URLs of servers"`

	gateways bool // see instances
}

func (c *Eureka) given() bool { return isGiven(c) }

func (c *Eureka) setDefaults() {
	c.Refresh = cmp.Or(c.Refresh, 10*time.Second)
	c.Timeout = cmp.Or(c.Timeout, 3*time.Second)
}

func (c *Eureka) validate(key string) error {
	if err := validateServers(key, c.Servers); err != nil {
		return err
	}
	switch {
	case c.Service == "":
		return fmt.Errorf("%s.service: it is missing", key)
	case !isName(c.Service):
		return fmt.Errorf("%s.service: want A-Z a-z 0-9 . _ -, not %q", key, c.Service)
	case (c.User == "") == c.Password.Given():
		return fmt.Errorf("%s.user: want both user and password, or none", key)
	}
	return validatePolling(key, c.Refresh, c.Timeout, c.TLS)
}

// isName reports whether text can be a part of a path as it is.
func isName(text string) bool {
	return text != "" && text != "." && text != ".." && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '.' && r != '_' && r != '-'
	})
}

func (c *Eureka) open(w *reload.Watcher) (Discovery, error) { return openEureka(*c, w) }

// eureka is a Eureka as its client sees it. One goroutine at a time uses it.
type eureka struct {
	config   Eureka
	servers  *servers
	password func() []byte
}

func openEureka(c Eureka, w *reload.Watcher) (*eureka, error) {
	password, err := c.Password.Follow(w, nil)
	if err != nil {
		return nil, fmt.Errorf("password_file: %w", err)
	}
	s, err := openServers(withPath(c.Servers, "/eureka"), c.Timeout, c.TLS, w)
	if err != nil {
		return nil, err
	}
	return &eureka{config: c, servers: s, password: password}, nil
}

func (e *eureka) Pause() time.Duration { return e.config.Refresh }

func (e *eureka) Close() { e.servers.close() }

// Find implements Discovery.
func (e *eureka) Find(ctx context.Context) ([]Instance, error) {
	body, err := e.ask(ctx, http.MethodGet, e.application(), nil)
	if status(err) == http.StatusNotFound { // no instance is registered, or this is no Eureka
		return nil, e.isEureka(ctx)
	}
	if err != nil {
		return nil, err
	}
	all, err := parseEureka(body)
	if err != nil {
		return nil, fmt.Errorf("the answer of Eureka is not understood: %w", err)
	}
	return instances(all, e.config.gateways), nil
}

// isEureka returns nil if the servers answer as Eureka does.
func (e *eureka) isEureka(ctx context.Context) error {
	_, err := e.ask(ctx, http.MethodGet, "/apps/delta", nil)
	if status(err) == http.StatusForbidden { // deltas are off
		return nil
	}
	return err
}

// application returns the path of the application.
func (e *eureka) application() string { return "/apps/" + strings.ToUpper(e.config.Service) }

func (e *eureka) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	header := http.Header{}
	if e.config.User != "" {
		r := http.Request{Header: header}
		r.SetBasicAuth(e.config.User, string(e.password()))
	}
	return e.servers.ask(ctx, &question{
		method: method,
		path:   path,
		header: header,
		body:   body,
	})
}

// parseEureka reads the instances of an application: those whose status is UP.
func parseEureka(body []byte) ([]found, error) {
	var answer struct {
		Application *struct {
			Instance oneOrMore[eurekaInstance]
		}
	}
	switch err := json.Unmarshal(body, &answer); {
	case err != nil:
		return nil, err
	case answer.Application == nil:
		return nil, errors.New("it has no application")
	}
	var all []found
	for _, i := range answer.Application.Instance.few {
		if i.Status != eurekaUp {
			continue
		}
		f := found{scheme: "http", host: cmp.Or(i.HostName, i.IPAddr), port: i.Port.Number, weight: 1, meta: i.Metadata}
		if i.SecurePort.Enabled {
			f.scheme, f.port = "https", i.SecurePort.Number
		}
		if w, err := strconv.ParseFloat(i.Metadata[metaWeight], 64); err == nil {
			if !(w > 0) {
				continue
			}
			f.weight = w
		}
		all = append(all, f)
	}
	return all, nil
}

// eurekaInstance is what matters of an instance in Eureka's JSON.
type eurekaInstance struct {
	HostName   string     `json:"hostName"`
	IPAddr     string     `json:"ipAddr"`
	Status     string     `json:"status"`
	Port       eurekaPort `json:"port"`
	SecurePort eurekaPort `json:"securePort"`
	Metadata   metadata   `json:"metadata"`
}

// The statuses that matter.
const (
	eurekaUp           = "UP"
	eurekaOutOfService = "OUT_OF_SERVICE"
)

// eurekaPort is a port and whether it is used: {"$":8080,"@enabled":"true"}.
type eurekaPort struct {
	Number  int
	Enabled bool
}

// MarshalJSON implements json.Marshaler.
func (p eurekaPort) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{"$": p.Number, "@enabled": strconv.FormatBool(p.Enabled)})
}

// UnmarshalJSON implements json.Unmarshaler. Servers differ in what they quote.
func (p *eurekaPort) UnmarshalJSON(b []byte) error {
	var fields metadata
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	number, err := strconv.ParseFloat(cmp.Or(fields["$"], "0"), 64)
	if err != nil || !(number >= 0 && number <= 65535) {
		return fmt.Errorf("%q is no port", fields["$"])
	}
	*p = eurekaPort{int(number), fields["@enabled"] == "true"}
	return nil
}

// oneOrMore is a list in JSON; Eureka's older servers write a list of one as its element.
type oneOrMore[T any] struct{ few[T] }

// UnmarshalJSON implements json.Unmarshaler.
func (l *oneOrMore[T]) UnmarshalJSON(text []byte) error {
	if bytes.HasPrefix(text, []byte("{")) {
		l.few = make(few[T], 1)
		return json.Unmarshal(text, &l.few[0])
	}
	return json.Unmarshal(text, &l.few)
}
