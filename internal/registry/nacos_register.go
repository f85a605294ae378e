package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// RegisterNacos registers the gateway in Nacos, as an ephemeral instance that sends heartbeats.
type RegisterNacos struct {
	Servers   []string       `yaml:"servers" help:"URLs of the servers, such as http://10.0.0.5:8848; if one does not answer, the next one is asked. Without a path it is /nacos"`
	Namespace string         `yaml:"namespace" help:"id of the namespace; left out, public"`
	Group     string         `yaml:"group" help:"group of the service; DEFAULT_GROUP when left out"`
	Cluster   string         `yaml:"cluster" help:"cluster of the gateway; DEFAULT when left out"`
	Timeout   time.Duration  `yaml:"timeout" help:"how long a server may take to answer; 3s when left out"`
	User      string         `yaml:"user" help:"user, if Nacos asks for one"`
	Password  setting.Secret `yaml:"password" help:"its password"`
	TLS       setting.TLS    `yaml:"tls" help:"for https URLs of servers"`
}

func (c *RegisterNacos) given() bool { return isGiven(c) }

func (c *RegisterNacos) setDefaults() {
	c.Cluster = cmp.Or(c.Cluster, "DEFAULT")
	d := c.discovery("")
	c.Group, c.Timeout = d.Group, d.Timeout
}

func (c *RegisterNacos) validate(key string) error {
	d := c.discovery("any")
	return d.validate(key)
}

// discovery returns the options with which the gateways that are registered are found.
func (c *RegisterNacos) discovery(service string) Nacos {
	d := Nacos{
		Servers: c.Servers, Service: service, Namespace: c.Namespace, Group: c.Group, Timeout: c.Timeout,
		User: c.User, Password: c.Password, TLS: c.TLS, gateways: true,
	}
	d.setDefaults()
	return d
}

func (c *RegisterNacos) openGateways(service string, w *reload.Watcher) (Discovery, error) {
	return openNacos(c.discovery(service), w)
}

func (c *RegisterNacos) openRegistrar(self *Self, w *reload.Watcher) (announcer, error) {
	n, err := openNacos(c.discovery(self.Service), w)
	if err != nil {
		return nil, err
	}
	return &nacosRegistrar{nacos: n, self: self, cluster: c.Cluster}, nil
}

// nacosRegistrar is the announcer of Nacos.
type nacosRegistrar struct {
	*nacos
	self    *Self
	cluster string
}

func (r *nacosRegistrar) close() { r.nacos.Close() }

// params returns what names the gateway in each request.
func (r *nacosRegistrar) params() url.Values {
	params := r.nacos.params()
	params.Set("ip", r.self.Host)
	params.Set("port", strconv.Itoa(int(r.self.Port)))
	params.Set("clusterName", r.cluster)
	params.Set("ephemeral", "true")
	return params
}

func (r *nacosRegistrar) announce(ctx context.Context, s State) error {
	meta := maps.Clone(r.self.Metadata)
	// Nacos reads when an instance is late from these; it removes the instance after twice the time.
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	meta["preserved.heart.beat.interval"] = milliseconds(r.self.TTL / 3)
	meta["preserved.heart.beat.timeout"] = milliseconds(r.self.TTL)
	meta["preserved.ip.delete.timeout"] = milliseconds(2 * r.self.TTL)
	text, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	params := r.params()
	params.Set("weight", strconv.Itoa(s.Weight))
	params.Set("enabled", strconv.FormatBool(s.Failed == ""))
	params.Set("metadata", string(text))
	_, err = r.ask(ctx, http.MethodPost, "/v1/ns/instance", params)
	return err
}

func (r *nacosRegistrar) renew(ctx context.Context, _ State) error {
	body, err := r.ask(ctx, http.MethodPut, "/v1/ns/instance/beat", r.params())
	if err != nil {
		return err
	}
	return parseNacosBeat(body)
}

func (r *nacosRegistrar) leave(ctx context.Context) error {
	_, err := r.ask(ctx, http.MethodDelete, "/v1/ns/instance", r.params())
	return err
}

// Codes in Nacos' answer to a heartbeat.
const (
	nacosOK       = 10200
	nacosNotFound = 20404
)

func parseNacosBeat(body []byte) error {
	var answer struct{ Code int }
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("the answer of Nacos to a heartbeat is not understood: %w", err)
	}
	switch answer.Code {
	case nacosOK:
		return nil
	case nacosNotFound:
		return errForgotten
	}
	return fmt.Errorf("Nacos has answered a heartbeat with the code %d", answer.Code)
}
