package feed

import (
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/route"
)

// Config is the part of a source's section that is the same for all sources: what becomes of a record. In templates and in where, a record
// is a message: {topic} is the other side's topic, {source} the record's key, {property.NAME} one of its headers.
type Config struct {
	Publish   Publish   `yaml:"publish" help:"make a publication of each record"`
	Broadcast Broadcast `yaml:"broadcast" help:"or a broadcast, to all devices that have subscribed to a filter"`
	Command   Command   `yaml:"command" help:"or a command for one device"`

	InFlight      int `yaml:"in_flight" help:"records that are taken and not yet done; at this bound the other side is not read"`
	InFlightBytes int `yaml:"in_flight_bytes" unit:"bytes" help:"the same for the bytes of their values and headers"`
}

// Publish says how a record becomes a publication.
type Publish struct {
	Topic  string `yaml:"topic" help:"template of the topic, such as site/{source}/order, where {source} is the record's key; where the kind of source maps topics, that may be left out"`
	QoS    string `yaml:"qos" help:"0 or 1; left out, 1 or, from an MQTT broker, that of the record"`
	Retain string `yaml:"retain" help:"true or false; left out, false or, from an MQTT broker, as the record says"`
}

// Broadcast says how a record becomes a broadcast.
type Broadcast struct {
	Topic  string `yaml:"topic" help:"template of the topic that the devices see"`
	Filter string `yaml:"filter" help:"template of the filter: devices that have a subscription in common with it; all to reach every device"`
	QoS    string `yaml:"qos" help:"0 reaches devices that are on line, 1 also those that are away"`
}

// Command says how a record becomes a command.
type Command struct {
	Device    string        `yaml:"device" help:"template of the device's id, such as {source}, the record's key"`
	Method    string        `yaml:"method" help:"template of the method"`
	TTL       time.Duration `yaml:"ttl" help:"how long the device may take to answer; left out, commands.ttl"`
	Exclusive bool          `yaml:"exclusive" help:"nothing else is in flight to the device with it"`
}

// MakesNothing reports whether c says nothing of what becomes of a record. That is for feeds that know on which topic a record is to be published.
func (c Config) MakesNothing() bool {
	return c.Publish == (Publish{}) && c.Broadcast == (Broadcast{}) && c.Command == (Command{})
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	if c.InFlight == 0 {
		c.InFlight = 1000
	}
	if c.InFlightBytes == 0 {
		c.InFlightBytes = 4 << 20
	}
	if c.Broadcast != (Broadcast{}) && c.Broadcast.QoS == "" {
		c.Broadcast.QoS = "1"
	}
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	var errs []error
	for _, t := range []struct{ key, text string }{
		{"publish.topic", c.Publish.Topic}, {"broadcast.topic", c.Broadcast.Topic}, {"broadcast.filter", c.Broadcast.Filter},
		{"command.device", c.Command.Device}, {"command.method", c.Command.Method},
	} {
		if _, err := route.ParseTemplate(t.text); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.key, err))
		}
	}
	kinds := 0
	for _, given := range []bool{c.Publish != (Publish{}), c.Broadcast != (Broadcast{}), c.Command != (Command{})} {
		if given {
			kinds++
		}
	}
	if kinds > 1 {
		errs = append(errs, errors.New("publish: want one of publish, broadcast and command"))
	}
	if b := c.Broadcast; b != (Broadcast{}) && (b.Topic == "" || b.Filter == "") {
		errs = append(errs, errors.New("broadcast: want topic and filter"))
	}
	if k := c.Command; k != (Command{}) && (k.Device == "" || k.Method == "") {
		errs = append(errs, errors.New("command: want device and method"))
	}
	for key, qos := range map[string]string{"publish.qos": c.Publish.QoS, "broadcast.qos": c.Broadcast.QoS} {
		if qos != "" && qos != "0" && qos != "1" {
			errs = append(errs, fmt.Errorf("%s: want 0 or 1, not %q", key, qos))
		}
	}
	if r := c.Publish.Retain; r != "" && r != "true" && r != "false" {
		errs = append(errs, fmt.Errorf("publish.retain: want true or false, not %q", r))
	}
	if c.InFlight < 1 || c.InFlight > mostInFlight {
		errs = append(errs, fmt.Errorf("in_flight: want 1 to %d", mostInFlight))
	}
	if c.InFlightBytes < 1 {
		errs = append(errs, errors.New("in_flight_bytes: want 1 or more"))
	}
	return errors.Join(errs...)
}

const (
	mostInFlight = 100_000
	everyDevice  = "all" // instead of the filter of a broadcast
)
