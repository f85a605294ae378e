package config

import (
	"cmp"
	"fmt"

	"github.com/longline/longline/internal/message"
)

// Node identifies a node. The zero value is a single node that keeps no state.
type Node struct {
	Number int    `yaml:"number" help:"number of the node, 1 to 63; it is part of message IDs, so nodes whose messages meet anywhere need different numbers"`
	State  string `yaml:"state" help:"directory for the node's state between two starts, such as the message IDs that it may have assigned; when left out, it is store.path, and without that IDs depend on the clock"`
}

// WithDefaults returns c with the defaults in place of zero options.
func (c Node) WithDefaults() Node {
	c.Number = cmp.Or(c.Number, 1)
	return c
}

// Validate returns what is wrong with c, after WithDefaults.
func (c Node) Validate() error {
	if c.Number < 1 || c.Number > message.MaxNode {
		return fmt.Errorf("number: want 1 to %d, not %d", message.MaxNode, c.Number)
	}
	return nil
}
