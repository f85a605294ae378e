package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// Config configures a fleet. The zero value is one idle device.
type Config struct {
	// Gateway is the URL that devices connect to; default ws://127.0.0.1:8080/connect.
	// {device} in it stands for the device id; without that, ?device=ID is added.
	Gateway string
	// CA is a PEM file of the authorities that may have issued the certificate of a wss:// gateway. Empty means the
	// system's.
	CA string
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
	// Protocol is json (the default) or protobuf. If Replay has a FrameColumn, it is the subprotocol of the
	// frames, such as ocpp1.6.
	Protocol string
	// Token, if set, is sent as "Authorization: Bearer".
	Token string
	// Source names the addresses to connect from: an IPv4 address, a prefix such as
	// 127.0.0.0/24, or a number of loopback addresses. One address has room for about
	// 28,000 connections to one gateway. By default, devices that connect to a loopback
	// address use as many source addresses as they need.
	Source string
	// Subscribe are filters that each device subscribes to; {device} in them stands for
	// the device id.
	Subscribe []string

	Loops          int           // event loops; 0 means one per processor
	ConnectRate    int           // connections begun per second, by all devices; 0 means 5,000
	MaxDials       int           // connections between dial and hello, of all devices; 0 means 512
	ConnectTimeout time.Duration // from dial to hello; 0 means 30 s
	Reconnect      Backoff
	Window         int // unanswered publications per device; 0 means 16

	// The load is Replay if it names files, and Synthetic otherwise.
	Synthetic Synthetic
	Replay    Replay
}

// Synthetic is a load of messages that the fleet makes itself.
type Synthetic struct {
	Devices  int           // 0 means 1
	Prefix   string        // beginning of the device ids, before a number; empty means "fleet-"
	Rate     float64       // messages per second, of all devices together; 0 means none
	Payload  int           // bytes per message, which looks like a meter's reading
	QoS      message.QoS   // 0 or 1
	Duration time.Duration // how long to send, after the devices are connected; 0 means until ctx ends
}

func (c Config) withDefaults() Config {
	c.Gateway = cmp.Or(c.Gateway, "ws://127.0.0.1:8080/connect")
	c.Protocol = cmp.Or(c.Protocol, "json")
	c.ConnectRate = cmp.Or(c.ConnectRate, 5000)
	c.MaxDials = cmp.Or(c.MaxDials, 512)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 30*time.Second)
	c.Window = cmp.Or(c.Window, 16)
	c.Synthetic.Devices = cmp.Or(c.Synthetic.Devices, 1)
	c.Synthetic.Prefix = cmp.Or(c.Synthetic.Prefix, "fleet-")
	c.Replay.LookAhead = cmp.Or(c.Replay.LookAhead, 4096)
	c.Reconnect.setDefaults()
	return c
}

// validate returns an error if a value is impossible.
func (c *Config) validate() error {
	s := &c.Synthetic
	switch {
	case c.frames() && (c.codec() == nil || c.codec().Acks()):
		return fmt.Errorf("protocol %q: want the subprotocol of the frames, such as ocpp1.6", c.Protocol)
	case c.frames() && len(c.Subscribe) > 0:
		return fmt.Errorf("subscribe: devices of %s get what is published to device/{id}/down, and cannot subscribe", c.Protocol)
	case c.codec() == nil:
		return fmt.Errorf("protocol %q: want json or protobuf; others carry the frames of a recording (--frame-column)", c.Protocol)
	case c.Loops < 0 || c.ConnectRate < 0 || c.MaxDials < 0 || c.Window < 0 || c.ConnectTimeout < 0:
		return errors.New("loops, connect rate, dials, window and timeouts cannot be negative")
	case s.Devices < 0 || s.Devices > maxDevices:
		return fmt.Errorf("%d devices: want 1 to %d", s.Devices, maxDevices)
	case !(s.Rate >= 0 && s.Rate <= maxRate): // also refuses NaN
		return fmt.Errorf("rate %v: want 0 to %v messages per second", s.Rate, float64(maxRate))
	case s.Payload < 0 || s.Payload > maxPayload:
		return fmt.Errorf("payload of %d bytes: want 0 to %d", s.Payload, maxPayload)
	case s.QoS > message.AtLeastOnce:
		return fmt.Errorf("QoS %d: want 0 or 1", s.QoS)
	}
	if err := topic.ValidateDevice(s.Prefix + "0"); err != nil {
		return fmt.Errorf("prefix %q: %w", s.Prefix, err)
	}
	return c.Replay.validate()
}

const (
	maxDevices = 10_000_000
	maxRate    = 10_000_000
	maxPayload = 16 << 20
)

// frames reports whether rows hold frames, which are sent unchanged.
func (c *Config) frames() bool { return len(c.Replay.Files) > 0 && c.Replay.FrameColumn != "" }

// codec returns the protocol that devices speak, or nil if there is none of that name.
func (c *Config) codec() wire.Codec {
	switch c.Protocol {
	case "json":
		return wire.JSON
	case "protobuf":
		return wire.Protobuf
	}
	offer := websocket.ClientRequest{Host: "gateway", Key: websocket.NewHandshakeKey(), Protocols: []string{c.Protocol}}
	if !c.frames() || strings.HasPrefix(c.Protocol, "longline.") || offer.Validate() != nil {
		return nil
	}
	return wire.NewRaw(c.Protocol)
}
