package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/wire/mqtt"
)

const (
	largeBytes = 200_000 // bytes of a message
	perSession = 5       // large messages that fit into a queue
	keptFor    = 60      // session expiry, in seconds
)

var large = make([]byte, largeBytes)

// kept returns the CONNECT of a device whose session outlives the connection.
func (c *crew) kept(id string, clean bool) *mqtt.Packet {
	p := connectAs(id, c.Token)
	p.Connect.Clean, p.Properties.SessionExpiry = clean, keptFor
	return p
}

// fresh joins as a new device, and subscribes to all of the device's topics.
func (c *crew) fresh(member int) (d *client, topic string, err error) {
	id := "bad-" + strconv.FormatUint(c.lives.Add(1), 10)
	if d, err = c.join(member, c.kept(id, true)); err != nil {
		return nil, "", err
	}
	if err := d.listen("device/" + id + "/#"); err != nil {
		_ = d.Close()
		return nil, "", err
	}
	return d, "device/" + id + "/x", nil
}

// fillByDevices publishes to itself, acknowledges nothing, and leaves. The next device does the same.
func fillByDevices(c *crew, member int) error {
	d, topic, err := c.fresh(member)
	if err != nil {
		return err
	}
	defer d.Close()
	for id := range uint16(perSession) {
		if err := d.publish(id+1, topic, large); err != nil {
			return err
		}
	}
	return nil
}

const perBackend = 100 // sessions that a backend fills, one after another

// fillByBackend makes a backend publish to devices that are away.
func fillByBackend(c *crew, member int) error {
	var topics []string
	for range perBackend {
		d, topic, err := c.fresh(member)
		if err != nil {
			return err
		}
		_ = d.Close()
		topics = append(topics, topic)
	}
	ctx, cancel := context.WithDeadline(context.Background(), c.end)
	defer cancel()
	b := c.backend()
	for _, topic := range topics {
		for range perSession {
			if err := post(ctx, b, topic, large); err != nil {
				return err
			}
		}
	}
	return nil
}

// owedComeBack fills the memory with messages for devices that are away, until the gateway refuses new devices. Then the devices
// come back: the gateway must let each in and send it every acknowledged message, which frees the memory.
func owedComeBack(ctx context.Context, r *round) error {
	c := newCrew(ctx, r.gateway.targets)
	owed, err := c.owe(ctx)
	if err != nil {
		return err
	}
	if err := r.gateway.stage(ctx, func(now float64) bool { return now >= 2 }); err != nil {
		return fmt.Errorf("memory is not short: %w", err)
	}
	for id, n := range owed {
		if err := c.collect(id, n); err != nil {
			return fmt.Errorf("%s, which is owed %d messages: %w", id, n, err)
		}
	}
	if err := r.gateway.stage(ctx, func(now float64) bool { return now == 0 }); err != nil {
		return fmt.Errorf("memory stays short when nothing is owed: %w", err)
	}
	return nil
}

// owe publishes to devices that are away until the gateway refuses that, or refuses new devices. It returns how many messages wait
// for each device.
func (c *crew) owe(ctx context.Context) (map[string]int, error) {
	owed := make(map[string]int)
	b := c.backend()
	for {
		d, topic, err := c.fresh(0)
		var refused *refusal
		if errors.As(err, &refused) {
			return owed, nil
		}
		if err != nil {
			return owed, err
		}
		_ = d.Close()
		id := topic[len("device/") : len(topic)-len("/x")]
		for range perSession {
			switch err := post(ctx, b, topic, large); {
			case connect.CodeOf(err) == connect.CodeResourceExhausted:
				return owed, nil
			case err != nil:
				return owed, err
			}
			owed[id]++
		}
	}
}

// collect connects as a device again, and acknowledges the messages that wait for it.
func (c *crew) collect(id string, owed int) error {
	d, err := c.join(0, c.kept(id, false))
	if err != nil {
		return err
	}
	defer d.Close()
	for range owed {
		p, err := d.until(mqtt.Publish)
		if err != nil {
			return err
		}
		if err := send(d, &mqtt.Packet{Type: mqtt.Puback, ID: p.ID}); err != nil {
			return err
		}
	}
	return d.answered() // so that the gateway has read the acknowledgements
}

// stageTime is the longest wait for a stage of overload.
const stageTime = 20 * time.Second

// stage waits until the gateway is in a wanted stage of overload.
func (g *gateway) stage(ctx context.Context, wanted func(float64) bool) error {
	for end := time.Now().Add(stageTime); ; time.Sleep(between) {
		now, err := g.metrics(ctx)
		if err != nil {
			return err
		}
		stage := now["longline_overload_stage"]
		if wanted(stage) {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("the stage of overload is " + strconv.Itoa(int(stage)))
		}
	}
}
