package auth

import (
	"fmt"
	"strings"

	"github.com/longline/longline/internal/topic"
)

// Filters are what a device may publish to and subscribe to: topic filters, in which a level
// {device} stands for its id. They come from the configuration, a token's claim or a webhook.
type Filters struct {
	Publish   []string `yaml:"publish" json:"publish" help:"filters of the topics that a device may publish to when its credential does not say; a level {device} is its id"`
	Subscribe []string `yaml:"subscribe" json:"subscribe" help:"filters that a device may subscribe to, or to a part of, when its credential does not say"`
}

// WithDefaults returns f with what a device may do by itself in place of nil: everything
// below device/{device}, and hear what is broadcast.
func (f Filters) WithDefaults() Filters {
	if f.Publish == nil {
		f.Publish = []string{"device/{device}/#"}
	}
	if f.Subscribe == nil {
		f.Subscribe = []string{"device/{device}/#", "broadcast/#"}
	}
	return f
}

// maxFilters bounds each list of a credential.
const maxFilters = 64

// Permissions are Filters made ready, and never changed. All devices whose credentials do not
// say what they may do share those of the configuration.
type Permissions struct{ publish, subscribe []rule }

// NewPermissions makes filters ready. An empty list permits nothing. The error begins with
// the key.
func NewPermissions(f Filters) (p *Permissions, err error) {
	p = new(Permissions)
	if p.publish, err = newRules(f.Publish); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	if p.subscribe, err = newRules(f.Subscribe); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return p, nil
}

// MayPublish tells whether a device may publish to a valid topic name. It allocates nothing.
func (p *Permissions) MayPublish(device, name string) bool {
	for i := range p.publish {
		if p.publish[i].allows(device, name, topic.Match) {
			return true
		}
	}
	return false
}

// MaySubscribe tells whether a device may subscribe to a valid filter: whether one of its own
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

// deviceLevel is the level that stands for the device's id.
const deviceLevel = "{device}"

// rule is a filter with "+" where the device's id has to be, and which levels these are.
type rule struct {
	filter string
	levels []int // from 0
}

func newRules(filters []string) ([]rule, error) {
	if len(filters) > maxFilters {
		return nil, fmt.Errorf("has more than %d filters", maxFilters)
	}
	rules := make([]rule, len(filters))
	for i, filter := range filters {
		levels := strings.Split(filter, "/")
		for n, level := range levels {
			if level == deviceLevel {
				levels[n] = "+"
				rules[i].levels = append(rules[i].levels, n)
			} else if strings.Contains(level, deviceLevel) {
				return nil, fmt.Errorf("%q: %s is a whole level", filter, deviceLevel)
			}
		}
		rules[i].filter = strings.Join(levels, "/")
		if err := topic.ValidateFilter(rules[i].filter, topic.Limits{}); err != nil {
			return nil, fmt.Errorf("%q: %w", filter, err)
		}
	}
	return rules, nil
}

// allows tells whether r, by match, takes in what is asked for. An id has no wildcards, so
// where it has to be, what is asked for has it literally.
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

// level returns the nth level, from 0, of a name or filter that has so many.
func level(s string, n int) string {
	for ; n > 0; n-- {
		_, s, _ = strings.Cut(s, "/")
	}
	s, _, _ = strings.Cut(s, "/")
	return s
}
