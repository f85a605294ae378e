package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/internal/reload"
)

// Register says where the gateway registers itself: in any of the registries.
type Register struct {
	Service string        `yaml:"service" help:"name under which the gateways are registered"`
	Address string        `yaml:"address" help:"host, or host and port, by which others reach the device port; needed if gateway.listen names no host"`
	TTL     time.Duration `yaml:"ttl" help:"after how long without a sign of life a registry takes the gateway for dead; it gives three in that time"`

	Consul RegisterConsul `yaml:"consul" help:"registers the gateway in Consul"`
	Nacos  RegisterNacos  `yaml:"nacos" help:"registers the gateway in Nacos"`
	Eureka RegisterEureka `yaml:"eureka" help:"registers the gateway in Eureka"`
}

// registrar is a registry's section in Register.
type registrar interface {
	// given, setDefaults and validate are as in section.
	given() bool
	setDefaults()
	validate(key string) error
	// openRegistrar makes the client that registers self.
	openRegistrar(self *Self, w *reload.Watcher) (announcer, error)
	// openGateways makes a Discovery of the gateways that are registered.
	openGateways(service string, w *reload.Watcher) (Discovery, error)
}

// WithDefaults implements setting.Section.
func (c Register) WithDefaults() Register {
	c.Service = cmp.Or(c.Service, "longline")
	c.TTL = cmp.Or(c.TTL, 30*time.Second)
	for _, k := range c.registries() {
		k.setDefaults()
	}
	return c
}

// Validate implements setting.Section.
func (c Register) Validate() error {
	var errs []error
	if !isName(c.Service) {
		errs = append(errs, fmt.Errorf("service: want A-Z a-z 0-9 . _ -, not %q", c.Service))
	}
	if c.TTL < leastTTL || c.TTL > mostTTL {
		errs = append(errs, fmt.Errorf("ttl: want %v to %v, not %v", leastTTL, mostTTL, c.TTL))
	}
	if c.Address != "" {
		if _, _, err := c.Reach(":1"); err != nil {
			errs = append(errs, fmt.Errorf("address: %w", err))
		}
	}
	for _, k := range c.registries() {
		errs = append(errs, k.validate(k.key))
	}
	return errors.Join(errs...)
}

const (
	leastTTL = 5 * time.Second
	mostTTL  = 10 * time.Minute
)

// Given reports whether the gateway is to be registered anywhere.
func (c Register) Given() bool { return len(c.registries()) > 0 }

// Reach returns where others reach the device port: at Address, and at what it leaves out of the address on which the gateway listens.
func (c Register) Reach(listen string) (host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	if c.Address != "" {
		if host, text, err = splitAddress(c.Address, text); err != nil {
			return "", 0, err
		}
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || !isHost(host) {
		return "", 0, fmt.Errorf("%q is no address by which others reach the device port: want host:port or a host", net.JoinHostPort(host, text))
	}
	return host, uint16(n), nil
}

// splitAddress splits HOST or HOST:PORT. An address of IPv6 is in brackets, or alone.
func splitAddress(address, normal string) (host, port string, err error) {
	switch {
	case net.ParseIP(address) != nil:
		return address, normal, nil
	case !strings.Contains(address, ":"), strings.HasSuffix(address, "]"):
		address += ":" + normal
	}
	return net.SplitHostPort(address)
}

// isHost reports whether others may reach host: it is a name or an address, and not one that stands for all.
func isHost(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return !ip.IsUnspecified()
	}
	return isName(host)
}

// registryKind is one of the registries of a Register, with its key.
type registryKind struct {
	key string
	registrar
}

// registries returns the registries that are given.
func (c *Register) registries() (all []registryKind) {
	for _, k := range []registryKind{{"consul", &c.Consul}, {"nacos", &c.Nacos}, {"eureka", &c.Eureka}} {
		if k.given() {
			all = append(all, k)
		}
	}
	return all
}

// Self is a gateway as it registers itself. Static.
type Self struct {
	Service  string
	Host     string
	Port     uint16
	TLS      bool
	Metadata map[string]string
	TTL      time.Duration // set by StartRegistration
}

// id names the gateway among those of the service. It is the same after a restart, so that the registry has it once.
func (s *Self) id() string {
	host := []byte(s.Host)
	for i, b := range host {
		if b == ':' || b == '%' { // of IPv6
			host[i] = '-'
		}
	}
	return fmt.Sprintf("%s-%s-%d", s.Service, host, s.Port)
}

// State is what changes of a gateway.
type State struct {
	Weight int    // 1 to 100: how much room it has
	Failed string // why it takes no devices; empty if it does
}

func (s State) takesDevices() bool { return s.Failed == "" }

// differs reports whether the reason differs, which may be another text each second, or the weight by more than a tenth.
func (s State) differs(from State) bool {
	return s.Failed != from.Failed || 10*max(s.Weight-from.Weight, from.Weight-s.Weight) > from.Weight
}

// announcer tells one registry of the gateway. One goroutine at a time uses it.
type announcer interface {
	// announce makes the registry know the gateway as it is now, whatever the registry knew before.
	announce(ctx context.Context, s State) error
	// renew says that the gateway lives. It returns errForgotten if the registry does not know it.
	renew(ctx context.Context, s State) error
	// leave makes the registry forget the gateway. It is no error if it has.
	leave(ctx context.Context) error
	// close gives back connections.
	close()
}

var errForgotten = errors.New("the registry does not know the gateway")

// Registration keeps a gateway registered. Its methods are safe from any goroutine.
type Registration struct {
	state func() State
	log   *slog.Logger
	all   []*registered
	stop  context.CancelFunc
	once  sync.Once
}

// StartRegistration registers the gateway in the registries of c, now and whenever one has forgotten it. state is called about once a second for each
// registry, and must not block. Errors begin with the key; a registry that does not answer is none.
func StartRegistration(c Register, self Self, state func() State, w *reload.Watcher, log *slog.Logger) (*Registration, error) {
	self.Service, self.TTL = c.Service, c.TTL
	r := &Registration{state: state, log: log}
	for _, k := range c.registries() {
		a, err := k.openRegistrar(&self, w)
		if err != nil {
			for _, each := range r.all {
				each.announcer.close()
			}
			return nil, fmt.Errorf("%s.%w", k.key, err)
		}
		r.all = append(r.all, &registered{name: k.key, announcer: a, ttl: c.TTL, registration: r})
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	for _, each := range r.all {
		each.running.Go(func() { each.run(ctx) })
	}
	return r, nil
}

// Leave makes the registries forget the gateway, all at the same time, and returns when they have, or when ctx ends. A second call does nothing.
func (r *Registration) Leave(ctx context.Context) {
	r.once.Do(func() {
		r.stop()
		var leaving sync.WaitGroup
		for _, each := range r.all {
			leaving.Go(func() { each.leave(ctx) })
		}
		leaving.Wait()
	})
}

// Registered returns the registries with whether each knows the gateway.
func (r *Registration) Registered() map[string]bool {
	all := make(map[string]bool, len(r.all))
	for _, each := range r.all {
		all[each.name] = each.isKnown()
	}
	return all
}
