package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/coder/websocket"
)

// After a restart a node gives out higher IDs than before, also if it was killed.
func TestIDsOfTwoLives(t *testing.T) {
	config := fmt.Sprintf("node: {number: 5, state: %q}\n", filepath.Join(t.TempDir(), "state"))
	first := serve(t, config, 0)
	before := first.messageID()
	if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	first.exitCode()
	after := serve(t, config, 0).messageID()
	if node := after >> 26 & 63; after <= before || node != 5 {
		t.Errorf("ID %d after %d, of node %d", after, before, node)
	}
}

// messageID returns the ID of a message that the gateway sends to a device.
func (p *program) messageID() uint64 {
	p.t.Helper()
	c, _, err := websocket.Dial(p.t.Context(), "ws://"+p.devices+"/connect/d", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	for _, packet := range []string{`{"op":"sub","id":1,"filters":["device/d/x"],"qos":1}`, `{"op":"pub","id":2,"topic":"device/d/x","qos":1}`} {
		if err := c.Write(p.t.Context(), websocket.MessageText, []byte(packet)); err != nil {
			p.t.Fatal(err)
		}
	}
	for {
		_, text, err := c.Read(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		var packet struct {
			Op string
			ID uint64
		}
		if err := json.Unmarshal(text, &packet); err != nil {
			p.t.Fatal(err)
		}
		if packet.Op == "msg" {
			return packet.ID
		}
	}
}
