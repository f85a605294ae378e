package registry

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// RegisterEureka registers the gateway in Eureka.
type RegisterEureka struct {
	Servers  []string       `yaml:"servers" help:"URLs of the servers, such as http://10.0.0.5:8761; if one does not answer, the next one is asked. Without a path it is /eureka"`
	Timeout  time.Duration  `yaml:"timeout" help:"how long a server may take to answer; 3s when left out"`
	User     string         `yaml:"user" help:"user, if the servers ask for one (HTTP Basic)"`
	Password setting.Secret `yaml:"password" help:"its password"`
	TLS      setting.TLS    `yaml:"tls" help:"for https URLs of servers"`
}

func (c *RegisterEureka) given() bool { return isGiven(c) }

func (c *RegisterEureka) setDefaults() { c.Timeout = c.discovery("").Timeout }

func (c *RegisterEureka) validate(key string) error {
	d := c.discovery("any")
	return d.validate(key)
}

// discovery returns the options with which the gateways that are registered are found.
func (c *RegisterEureka) discovery(service string) Eureka {
	d := Eureka{Servers: c.Servers, Service: service, Timeout: c.Timeout, User: c.User, Password: c.Password, TLS: c.TLS, gateways: true}
	d.setDefaults()
	return d
}

func (c *RegisterEureka) openGateways(service string, w *reload.Watcher) (Discovery, error) {
	return openEureka(c.discovery(service), w)
}

func (c *RegisterEureka) openRegistrar(self *Self, w *reload.Watcher) (announcer, error) {
	e, err := openEureka(c.discovery(self.Service), w)
	if err != nil {
		return nil, err
	}
	return &eurekaRegistrar{eureka: e, self: self}, nil
}

// eurekaRegistrar is the announcer of Eureka.
type eurekaRegistrar struct {
	*eureka
	self *Self
}

func (r *eurekaRegistrar) close() { r.eureka.Close() }

// eurekaSelf is an instance as it registers itself.
type eurekaSelf struct {
	eurekaInstance
	InstanceID       string            `json:"instanceId"`
	App              string            `json:"app"`
	VIPAddress       string            `json:"vipAddress"`
	SecureVIPAddress string            `json:"secureVipAddress"`
	DataCenterInfo   map[string]string `json:"dataCenterInfo"`
	LeaseInfo        eurekaLease       `json:"leaseInfo"`
	LastDirty        string            `json:"lastDirtyTimestamp"` // milliseconds; of two registrations Eureka keeps the one with the higher
}

type eurekaLease struct {
	Renewal  int `json:"renewalIntervalInSecs"`
	Duration int `json:"durationInSecs"`
}

func (r *eurekaRegistrar) announce(ctx context.Context, s State) error {
	meta := maps.Clone(r.self.Metadata)
	meta[metaWeight] = strconv.Itoa(s.Weight)
	up := eurekaUp
	if s.Failed != "" {
		up = eurekaOutOfService
	}
	seconds := func(d time.Duration) int { return max(1, int(d/time.Second)) }
	self := eurekaSelf{
		eurekaInstance: eurekaInstance{
			HostName:   r.self.Host,
			IPAddr:     r.self.Host,
			Status:     up,
			Port:       eurekaPort{int(r.self.Port), !r.self.TLS},
			SecurePort: eurekaPort{int(r.self.Port), r.self.TLS},
			Metadata:   meta,
		},
		InstanceID:       r.self.id(),
		App:              strings.ToUpper(r.self.Service),
		VIPAddress:       r.self.Service,
		SecureVIPAddress: r.self.Service,
		DataCenterInfo:   map[string]string{"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"},
		// Eureka counts the duration twice before it removes an instance (Lease.isExpired says so itself).
		LeaseInfo: eurekaLease{Renewal: seconds(r.self.TTL / 3), Duration: seconds(r.self.TTL / 2)},
		LastDirty: strconv.FormatInt(time.Now().UnixMilli(), 10),
	}
	body, err := json.Marshal(map[string]any{"instance": self})
	if err != nil {
		return err
	}
	_, err = r.ask(ctx, http.MethodPost, r.application(), body)
	return err
}

func (r *eurekaRegistrar) renew(ctx context.Context, _ State) error {
	_, err := r.ask(ctx, http.MethodPut, r.application()+"/"+r.self.id(), nil)
	if status(err) == http.StatusNotFound {
		return errForgotten
	}
	return err
}

func (r *eurekaRegistrar) leave(ctx context.Context) error {
	_, err := r.ask(ctx, http.MethodDelete, r.application()+"/"+r.self.id(), nil)
	if status(err) == http.StatusNotFound {
		return nil
	}
	return err
}
