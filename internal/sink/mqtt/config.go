package mqtt

import (
	"errors"
	"fmt"

	"github.com/longline/longline/internal/bridge"
)

// Config is the section of a sink that is another MQTT broker.
type Config struct {
	bridge.Config `yaml:",inline"`

	Topics []string `yaml:"topics" help:"which messages go there, and under which topics: FILTER or FILTER -> TEMPLATE, such as device/+/telemetry -> site7/{topic[1]}/t; the first that matches counts; left out, all, under their own topics"`
	Retain string   `yaml:"retain" help:"true or false: whether the broker retains the messages; left out, as their publishers said"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Config = c.Config.WithDefaults()
	if len(c.Topics) == 0 {
		c.Topics = []string{"#"}
	}
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	errs := []error{c.Config.Validate()}
	if _, err := bridge.ParseTable(c.Topics); err != nil {
		errs = append(errs, fmt.Errorf("topics: %w", err))
	}
	if c.Retain != "" && c.Retain != "true" && c.Retain != "false" {
		errs = append(errs, fmt.Errorf("retain: want true or false, not %q", c.Retain))
	}
	return errors.Join(errs...)
}
