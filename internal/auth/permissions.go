package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/longline/longline/internal/topic"
)

// Filters are the topic filters that a device may publish to and subscribe to, in which a level
// {device} stands for its id, and the services that it may call. They come from the configuration, a token's claim or a webhook.
type Filters struct {
	Publish   []string `yaml:"publish" json:"publish" help:"filters of the topics that a device may publish to if its credential does not say; the level {device} stands for its id"`
	Subscribe []string `yaml:"subscribe" json:"subscribe" help:"filters that a device may subscribe to, wholly or in part, if its credential does not say"`
	Call      []string `yaml:"call" json:"call" help:"services that a device may call if its credential does not say; * means all"`
}

// WithDefaults returns f with the defaults in place of nil: a device may publish and subscribe to everything
// below device/{device}, subscribe to broadcasts, and call all services.
func (f Filters) WithDefaults() Filters {
	if f.Publish == nil {
		f.Publish = []string{"device/{device}/#"}
	}
	if f.Subscribe == nil {
		f.Subscribe = []string{"device/{device}/#", "broadcast/#"}
	}
	if f.Call == nil {
		f.Call = []string{anyService}
	}
	return f
}

// maxFilters bounds each list in a credential.
const maxFilters = 64

// anyService stands for all services, in a list of services.
const anyService = "*"

// mostService bounds the name of a service, in bytes.
const mostService = 64

// Permissions are compiled Filters, and immutable. All devices whose credentials do not
// say what they may do share the configured ones.
type Permissions struct {
	publish, subscribe []rule
	call               []string
}

// NewPermissions compiles filters. An empty list permits nothing. The error begins with
// the key.
func NewPermissions(f Filters) (p *Permissions, err error) {
	p = new(Permissions)
	if p.publish, err = newRules(f.Publish); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	if p.subscribe, err = newRules(f.Subscribe); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if err = checkServices(f.Call); err != nil {
		return nil, fmt.Errorf("call: %w", err)
	}
	p.call = slices.Clone(f.Call)
	return p, nil
}

// MayPublish reports whether a device may publish to a valid topic name. It allocates nothing.
func (p *Permissions) MayPublish(device, name string) bool {
	for i := range p.publish {
		if p.publish[i].allows(device, name, topic.Match) {
			return true
		}
	}
	return false
}

// MaySubscribe reports whether a device may subscribe to a valid filter: whether one of its permissions
// covers it. A shared subscription is judged by its filter, MQTT 5 §4.8.2.
func (p *Permissions) MaySubscribe(device, filter string) bool {
	_, filter, _, err := topic.Shared(filter)
	if err != nil {
		return false
	}
	for i := range p.subscribe {
		if p.subscribe[i].allows(device, filter, topic.Covers) {
			return true
		}
	}
	return false
}

// MayCall reports whether a device may call the service of that name.
func (p *Permissions) MayCall(name string) bool {
	for _, may := range p.call {
		if may == name || may == anyService {
			return true
		}
	}
	return false
}

func checkServices(names []string) error {
	if len(names) > maxFilters {
		return fmt.Errorf("more than %d services", maxFilters)
	}
	for _, name := range names {
		if name == "" || len(name) > mostService || name != anyService && strings.ContainsAny(name, "*/") {
			return fmt.Errorf("%.80q: want the name of a service, or %s", name, anyService)
		}
	}
	return nil
}

// deviceLevel is the level that stands for the device's id.
const deviceLevel = "{device}"

// rule is a filter with "+" in place of {device}, and the positions of these levels.
type rule struct {
	filter string
	levels []int // from 0
}

func newRules(filters []string) ([]rule, error) {
	if len(filters) > maxFilters {
		return nil, fmt.Errorf("more than %d filters", maxFilters)
	}
	rules := make([]rule, len(filters))
	for i, filter := range filters {
		levels := strings.Split(filter, "/")
		for n, level := range levels {
			if level == deviceLevel {
				levels[n] = "+"
				rules[i].levels = append(rules[i].levels, n)
			} else if strings.Contains(level, deviceLevel) {
				return nil, fmt.Errorf("%q: %s must be a whole level", filter, deviceLevel)
			}
		}
		rules[i].filter = strings.Join(levels, "/")
		if err := topic.ValidateFilter(rules[i].filter, topic.Limits{}); err != nil {
			return nil, fmt.Errorf("%q: %w", filter, err)
		}
	}
	return rules, nil
}

// allows reports whether r, by match, covers the asked topic or filter. An id has no wildcards, so
// the levels of {device} must equal it.
func (r *rule) allows(device, asked string, match func(filter, asked string) bool) bool {
	if !match(r.filter, asked) {
		return false
	}
	for _, n := range r.levels {
		if level(asked, n) != device {
			return false
		}
	}
	return true
}

// level returns the nth level, from 0, of a name or filter that has at least n+1.
func level(s string, n int) string {
	for ; n > 0; n-- {
		_, s, _ = strings.Cut(s, "/")
	}
	s, _, _ = strings.Cut(s, "/")
	return s
}
