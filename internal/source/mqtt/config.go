package mqtt

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/bridge"
)

// Config is the section of a source that is another MQTT broker.
type Config struct {
	bridge.Config `yaml:",inline"`

	Topics     []string      `yaml:"topics" help:"what is subscribed to there, and under which topics it is published here: FILTER or FILTER -> TEMPLATE, such as site7/+/cmd -> device/{topic[1]}/cmd; the first that matches counts"`
	Session    time.Duration `yaml:"session" help:"how long the broker keeps what it has for the gateway while that is away; 3.1.1 cannot say so"`
	Unanswered int           `yaml:"unanswered" help:"publications that the broker may send before the first of them is acknowledged, which it is when the gateway has it safely; of 3.1.1 only that the gateway reads no more of them"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Config = c.Config.WithDefaults()
	c.Session = cmp.Or(c.Session, 24*time.Hour)
	c.Unanswered = cmp.Or(c.Unanswered, 500)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	errs := []error{c.Config.Validate()}
	table, err := bridge.ParseTable(c.Topics)
	if err != nil {
		errs = append(errs, fmt.Errorf("topics: %w", err))
	} else if table.Empty() {
		errs = append(errs, errors.New("topics: want at least one filter"))
	}
	if c.Session < time.Second {
		errs = append(errs, errors.New("session: want 1s or more"))
	}
	if c.Unanswered < 1 || c.Unanswered > mostUnanswered {
		errs = append(errs, fmt.Errorf("unanswered: want 1 to %d, not %d", mostUnanswered, c.Unanswered))
	}
	return errors.Join(errs...)
}

const mostUnanswered = 10_000
