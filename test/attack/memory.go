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
	largeBytes = 200_000 // of a message
	perSession = 5       // such messages fit into a queue
	keptFor    = 60      // seconds that a session waits for its device
)

var large = make([]byte, largeBytes)

// kept is the CONNECT of a device whose session stays.
func (c *crew) kept(id string, clean bool) *mqtt.Packet {
	p := connectAs(id, c.Token)
	p.Connect.Clean, p.Properties.SessionExpiry = clean, keptFor
	return p
}

// fresh joins as a device that nobody was before, and listens to all of its topics.
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

// fillByDevices publishes to itself what it never acknowledges, and leaves. The next device does the same.
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

const perBackend = 100 // sessions that a backend fills, one after the other

// fillByBackend has a backend publish to devices that are away.
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

// owedComeBack fills the memory with messages for devices that are away, until new devices are refused. Those that are
// owed the messages come back: each is let in, gets what was acknowledged, and with that the memory is free.
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

// owe publishes to devices that are away until it is refused, or new devices are, and returns how many messages each
// is owed.
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

// collect comes back as a device, and acknowledges the messages that it is owed.
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
	return d.answered() // so the acknowledgements were read
}

// stageTime is for how long the stage of overload is waited for.
const stageTime = 20 * time.Second

// stage waits until the stage of overload is one that is wanted.
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
