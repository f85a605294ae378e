package config

import (
	"cmp"
	"fmt"

	"github.com/longline/longline/internal/message"
)

// Node tells a node from others. The zero value is a node alone that remembers nothing.
type Node struct {
	Number int    `yaml:"number" help:"number of the node, 1 to 63, another for each node whose messages come together anywhere: it is part of their IDs"`
	State  string `yaml:"state" help:"directory for what the node remembers from one start to the next, such as the message IDs that it may have given out; left out, it relies on its clock"`
}

// WithDefaults returns c with the defaults in place of zero options.
func (c Node) WithDefaults() Node {
	c.Number = cmp.Or(c.Number, 1)
	return c
}

// Validate names what cannot be, after WithDefaults.
func (c Node) Validate() error {
	if c.Number < 1 || c.Number > message.MaxNode {
		return fmt.Errorf("number: want 1 to %d, not %d", message.MaxNode, c.Number)
	}
	return nil
}
