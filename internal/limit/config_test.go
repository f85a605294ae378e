package limit

import (
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	if err := (Config{}).WithDefaults().Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	for key, change := range map[string]func(*Config){
		"connections.per_prefix:": func(c *Config) { c.Connections.PerPrefix = []string{"x"} },
		"device.above:":           func(c *Config) { c.Device.Above = "ignore" },
		"memory.slack:":           func(c *Config) { c.Memory.Slack = 70 },
		"memory.shed_qos0:":       func(c *Config) { c.Memory.ShedQoS0 = 60 },
		"memory.close_slow:":      func(c *Config) { c.Memory.CloseSlow = 101 },
	} {
		var c Config
		change(&c)
		if err := c.WithDefaults().Validate(); err == nil || !strings.HasPrefix(err.Error(), key) {
			t.Errorf("%s %v", key, err)
		}
	}
}
