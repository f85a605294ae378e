package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/test/servers"
)

// The bars.
const (
	leastRate   = 40_000 // messages/s
	mostCPU     = 25     // us per message
	mostCatchUp = 15     // s
)

const (
	topicName  = "telemetry"
	partitions = 8
)

// startKafka starts a Kafka that has the topic.
func startKafka(ctx context.Context, folder string) (*servers.Process, error) {
	dir := filepath.Join(folder, "kafka")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	k, err := servers.Launch(ctx, servers.KafkaProgram(), dir)
	if err != nil {
		return nil, err
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(k.Address()))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_, err = kadm.NewClient(c).CreateTopics(ctx, partitions, 1, nil, topicName)
	return k, err
}

func kafkaSink(k *servers.Process) string {
	return fmt.Sprintf("kafka: {brokers: [%q], topic: %s}", k.Address(), topicName)
}

// kafka measures a fixed rate: whether Kafka has all messages when the last one was acknowledged to its device, and the gateway's CPU per message for the whole way.
func (o *options) kafka(ctx context.Context, folder string) error {
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
	defer g.kill()
	c, err := bench.Connect(ctx, bench.Target{Addr: g.devices, Process: g.process(), Devices: "bench-", MQTT: &bench.MQTT{}}, o.Devices+1)
	if err != nil {
		return err
	}
	defer c.Close()
	if o.Profile != "" {
		go o.profile(ctx, g)
	}
	load := bench.Load{Size: o.Size, Warmup: 5 * time.Second, Duration: o.Duration, Rate: o.Rate}
	begun, before := time.Now(), time.Duration(0)
	if before, err = g.process().CPU(); err != nil {
		return err
	}
	r, err := c.MQTTAcknowledged(ctx, load)
	if err != nil {
		return err
	}
	published := time.Since(begun)
	lag, err := g.lag(ctx)
	if err != nil {
		return err
	}
	if err := g.drain(ctx, 0); err != nil {
		return err
	}
	all := time.Since(begun)
	after, err := g.process().CPU()
	if err != nil {
		return err
	}
	n, err := countRecords(ctx, k)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%d devices, %d B, QoS 1, %s/s for %v, to Kafka with acks=all", o.Devices, o.Size, bench.Short(o.Rate), load.Warmup+o.Duration)
	show(what+": acknowledged to devices", r.Rate(), "messages/s", noBar)
	show("    records in Kafka, until it had the last one", float64(n)/all.Seconds(), "messages/s", atLeast(leastRate))
	show("    not yet in Kafka when the devices stopped", lag, "messages", noBar)
	show("    Kafka had them after", (all - published).Seconds(), "s", noBar)
	show("    gateway's CPU per message, from the device to Kafka", bench.Micros((after-before)/time.Duration(max(1, n))), "us", atMost(mostCPU))
	show("    99% acknowledged to the device within", bench.Micros(r.Percentile(99))/1000, "ms", noBar)
	return nil
}

// profile writes a CPU profile of the gateway.
func (o *options) profile(ctx context.Context, g *gateway) {
	text, err := g.admin.Get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(o.Duration.Seconds())))
	if err = errors.Join(err, os.WriteFile(o.Profile, text, 0o644)); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// countRecords returns how many records the topic has.
func countRecords(ctx context.Context, k *servers.Process) (n int64, err error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(k.Address()))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, topicName)
	if err = errors.Join(err, ends.Error()); err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}
