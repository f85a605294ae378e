package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/longline/longline/device"
	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/test/servers"
)

// outage kills Kafka for a while, and the gateway in the middle of that, while devices publish at a fixed rate, also afterwards. It measures how long the sink
// needs until Kafka has what came meanwhile, and looks whether Kafka has every acknowledged message, in the order of its device.
func (o *options) outage(ctx context.Context, folder string) error {
	ctx, cancel := context.WithTimeout(ctx, o.Away+patience)
	defer cancel()
	k, err := startKafka(ctx, folder)
	if k != nil {
		defer k.Kill()
	}
	if err != nil {
		return err
	}
	at, err := newAddresses()
	if err != nil {
		return err
	}
	g, err := o.startGateway(ctx, folder, at, kafkaSink(k))
	if err != nil {
		return err
	}
	defer func() { g.kill() }()
	f, err := o.startFleet(ctx, g)
	if err != nil {
		return err
	}
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	pause(before)
	k.Kill()
	pause(o.Away / 2)
	g.kill()
	if g, err = o.startGateway(ctx, folder, at, kafkaSink(k)); err != nil {
		return err
	}
	pause(o.Away / 2)
	backlog, err := g.lag(ctx)
	if err != nil {
		return err
	}
	if err := k.Restart(ctx); err != nil {
		return err
	}
	ready := time.Now()
	if err := g.drain(ctx, o.Through/2); err != nil { // the devices go on
		return err
	}
	caughtUp := time.Since(ready)
	pause(after)
	acknowledged, err := f.stop(ctx)
	if err != nil {
		return err
	}
	if err := g.drain(ctx, 0); err != nil {
		return err
	}
	v, err := verdictOf(ctx, k, acknowledged)
	if err != nil {
		return err
	}
	fmt.Printf("%d devices, %d B, QoS 1, %s/s. Kafka is away for %v and the gateway is killed after half of that\n", o.Devices, o.Size, bench.Short(o.Through), o.Away)
	show("    acknowledged to devices, in all", float64(v.acknowledged), "messages", noBar)
	show("    of them not in Kafka", float64(v.lost), "messages", atMost(0))
	show("    out of the order of their device", float64(v.disordered), "messages", atMost(0))
	show("    in Kafka more than once", float64(v.repeated), "messages", noBar)
	show("    waited for Kafka when it came back", backlog, "messages", noBar)
	show("    Kafka had them, while the devices went on, after", caughtUp.Seconds(), "s", atMost(mostCatchUp))
	return nil
}

// How long the devices publish before and after.
const (
	before   = 5 * time.Second
	after    = 3 * time.Second
	patience = 2 * time.Minute // for all that is not the outage itself
)

// fleet is devices that publish. A message has the number of its device and its own, from 1 on.
type fleet struct {
	options *options
	end     context.CancelFunc
	ended   sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	acknowledged []int // the last message, by device: all before it are, too
	err          error
}

// startFleet connects devices, which begin to publish.
func (o *options) startFleet(ctx context.Context, g *gateway) (*fleet, error) {
	f := &fleet{options: o, acknowledged: make([]int, o.Devices)}
	run, end := context.WithCancel(ctx)
	f.end = end
	for n := range o.Devices {
		d, err := device.Dial(ctx, "ws://"+g.devices.String()+"/connect", &device.Options{
			ID: fmt.Sprintf("bench-%d", n), Protocol: device.Protobuf, BufferMessages: 10_000, Reconnect: device.Reconnect{Min: 100 * time.Millisecond, Max: time.Second, MaxTries: -1},
		})
		if err != nil {
			end()
			return nil, err
		}
		f.ended.Go(func() { f.publish(run, d, n) })
	}
	return f, nil
}

// underway is a message that was published.
type underway struct {
	number  int
	outcome <-chan error
}

// publish publishes the messages of a device, in its part of the rate, until ctx ends.
func (f *fleet) publish(ctx context.Context, d *device.Device, n int) {
	sent := make(chan underway, 10_000)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for one := range sent {
			err := <-one.outcome
			f.note(n, one.number, err)
		}
	})
	period := time.Duration(float64(time.Second) * float64(f.options.Devices) / f.options.Through)
	next := time.Now().Add(period * time.Duration(n) / time.Duration(f.options.Devices))
	for number := 1; ctx.Err() == nil; number++ {
		select {
		case <-time.After(time.Until(next)):
		case <-ctx.Done():
			continue
		}
		next = next.Add(period)
		payload := fmt.Appendf(make([]byte, 0, f.options.Size), "%d %d", n, number)
		payload = append(payload, bytes.Repeat([]byte(" "), max(0, f.options.Size-len(payload)))...)
		outcome, err := d.PublishAsync(device.Message{Topic: fmt.Sprintf("device/bench-%d/telemetry", n), Payload: payload, QoS: device.AtLeastOnce})
		if err != nil {
			f.note(n, number, err)
			break
		}
		sent <- underway{number, outcome}
	}
	close(sent)
	waiting.Wait()
	closing, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = d.Close(closing) // everything is answered
}

func (f *fleet) note(n, number int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.err = errors.Join(f.err, fmt.Errorf("message %d of device %d: %w", number, n, err))
		return
	}
	f.acknowledged[n] = number
}

// stop makes the devices publish nothing more, and returns the number of the last message of each when all are acknowledged.
func (f *fleet) stop(ctx context.Context) ([]int, error) {
	f.end()
	ended := make(chan struct{})
	go func() { f.ended.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acknowledged, f.err
}

// verdict is what became of acknowledged messages.
type verdict struct{ acknowledged, lost, disordered, repeated int }

// verdictOf reads all records of the topic.
func verdictOf(ctx context.Context, k *servers.Process, acknowledged []int) (v verdict, err error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(k.Address()), kgo.ConsumeTopics(topicName))
	if err != nil {
		return v, err
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topicName)
	if err = errors.Join(err, ends.Error()); err != nil {
		return v, err
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	seen := make([]map[int]bool, len(acknowledged))
	highest := make([]int, len(acknowledged))
	for i := range seen {
		seen[i] = make(map[int]bool)
	}
	for left > 0 {
		fetched := c.PollFetches(ctx)
		if err := fetched.Err0(); err != nil {
			return v, err
		}
		fetched.EachRecord(func(r *kgo.Record) {
			left--
			var device, number int
			if _, scanning := fmt.Sscanf(string(r.Value), "%d %d", &device, &number); scanning != nil || device < 0 || device >= len(seen) {
				err = fmt.Errorf("a record is %q", r.Value)
				return
			}
			switch {
			case seen[device][number]:
				v.repeated++
			case number < highest[device]:
				v.disordered++
			}
			seen[device][number] = true
			highest[device] = max(highest[device], number)
		})
		if err != nil {
			return v, err
		}
	}
	for device, last := range acknowledged {
		v.acknowledged += last
		for number := 1; number <= last; number++ {
			if !seen[device][number] {
				v.lost++
			}
		}
	}
	return v, nil
}
