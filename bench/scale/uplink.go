package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/fleet"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

const (
	uplinkTime   = 10 * time.Second
	uplinkWarmup = 2 * time.Second
	uplinkBuffer = 1 << 20 // messages that wait for the backend
)

// uplink makes the devices publish with QoS 0 to one backend.
func (r *run) uplink(ctx context.Context, p phase) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b, err := subscribe(ctx, r.gateway.admin.URL)
	if err != nil {
		return err
	}
	load := fleet.Synthetic{Rate: r.Uplink, Payload: payloadSize, Duration: uplinkWarmup}
	if err := r.fleet.Publish(ctx, load); err != nil {
		return err
	}
	profiled := r.profiling(ctx, "uplink")
	defer profiled()
	before := r.fleet.Snapshot()
	cpu, err := r.cpu()
	if err != nil {
		return err
	}
	load.Duration = uplinkTime
	if err := r.fleet.Publish(ctx, load); err != nil {
		return err
	}
	after, err := r.cpu()
	if err != nil {
		return err
	}
	now := r.fleet.Snapshot()
	sent := now.Sent - before.Sent
	b.await(ctx, now.Sent)
	p.add("messages per second", float64(sent)/uplinkTime.Seconds(), "1/s")
	p.add("gateway CPU a message", bench.Micros(after.gateway-cpu.gateway)/float64(sent), "us")
	p.add("gateway CPU", 100*(after.gateway-cpu.gateway).Seconds()/uplinkTime.Seconds(), "% of one")
	p.add("not sent when due", float64(now.Skipped-before.Skipped), "")
	p.add("lost", float64(now.Sent-b.received.Load()), "")
	if got := b.received.Load(); got != now.Sent {
		return fmt.Errorf("%d were sent and the backend has %d; %d were dropped because it was slow", now.Sent, got, b.missed.Load())
	}
	return nil
}

// backend is a subscriber to the messages of the devices.
type backend struct{ received, missed atomic.Uint64 }

// subscribe returns when the subscription is active. The subscription ends with ctx.
func subscribe(ctx context.Context, admin string) (*backend, error) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2c := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	stream, err := longlinev1connect.NewGatewayClient(h2c, admin, connect.WithGRPC()).Subscribe(ctx,
		connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{"device/+/telemetry"}, BufferMessages: uplinkBuffer, BufferBytes: uplinkBuffer * payloadSize}))
	if err != nil {
		return nil, err
	}
	if !stream.Receive() {
		return nil, stream.Err()
	}
	b := new(backend)
	go func() {
		for stream.Receive() {
			b.received.Add(uint64(len(stream.Msg().Messages)))
			b.missed.Add(stream.Msg().Missed)
		}
	}()
	return b, nil
}

// await waits until n messages have arrived, as long as more arrive.
func (b *backend) await(ctx context.Context, n uint64) {
	for last := uint64(0); b.received.Load() < n && b.received.Load() > last; {
		last = b.received.Load()
		if pause(ctx, time.Second) != nil {
			return
		}
	}
}
