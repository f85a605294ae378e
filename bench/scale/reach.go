package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/fleet"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

const payloadSize = 128 // bytes of a broadcast

// reachTime is how long a broadcast may take to reach everyone.
const reachTime = time.Minute

// broadcasts sends one broadcast of each QoS to all devices.
func (r *run) broadcasts(ctx context.Context, p phase) error {
	for qos := range uint32(2) {
		if err := r.broadcast(ctx, p, qos); err != nil {
			return fmt.Errorf("QoS %d: %w", qos, err)
		}
	}
	return nil
}

func (r *run) broadcast(ctx context.Context, p phase, qos uint32) error {
	cpu, err := r.cpu()
	if err != nil {
		return err
	}
	profiled := r.profiling(ctx, fmt.Sprintf("broadcast-%d", qos))
	defer profiled()
	before, begin := r.fleet.Snapshot(), time.Now()
	resp, err := r.gateway.api.Broadcast(ctx, connect.NewRequest(&longlinev1.BroadcastRequest{
		Message: &longlinev1.Message{Topic: "fleet/news", Payload: bytes.Repeat([]byte{'b'}, payloadSize), Qos: qos},
	}))
	if err != nil {
		return err
	}
	answered := time.Since(begin)
	reach, cancel := context.WithTimeoutCause(ctx, reachTime, fmt.Errorf("not all of it arrived in %v", reachTime))
	defer cancel()
	all := before.Received + uint64(r.Devices)
	err = r.await(reach, func(s *fleet.Snapshot) bool { return s.Received >= all })
	now := r.fleet.Snapshot()
	if err == nil && qos > 0 {
		err = r.acknowledged(reach)
	}
	if err != nil {
		return fmt.Errorf("%w; %d of %d arrived", context.Cause(reach), now.Received-before.Received, r.Devices)
	}
	after, err := r.cpu()
	if err != nil {
		return err
	}
	title := fmt.Sprintf("QoS %d: ", qos)
	took := now.LastMessage.Sub(begin)
	p.add(title+"until the API has answered", answered.Seconds(), "s")
	p.add(title+"until the last device has it", took.Seconds(), "s")
	p.add(title+"deliveries per second", float64(r.Devices)/took.Seconds(), "1/s")
	p.add(title+"gateway CPU a delivery", bench.Micros(after.gateway-cpu.gateway)/float64(r.Devices), "us")
	p.add(title+"fleet CPU a delivery", bench.Micros(after.fleet-cpu.fleet)/float64(r.Devices), "us")
	return r.everyone(p, title, int(resp.Msg.Devices), now.Received-before.Received)
}

// everyone checks that each device has got each broadcast once.
func (r *run) everyone(p phase, title string, offered int, arrived uint64) error {
	r.rounds++
	least := r.fleet.LeastReceived()
	p.add(title+"lost", float64(r.Devices)-float64(arrived), "")
	if offered != r.Devices || arrived != uint64(r.Devices) || least != r.rounds {
		return fmt.Errorf("offered to %d and arrived at %d of %d, a device has %d of %d", offered, arrived, r.Devices, least, r.rounds)
	}
	return nil
}

// acknowledged waits until the gateway has every device's acknowledgement of the
// broadcast with QoS 1.
func (r *run) acknowledged(ctx context.Context) error {
	for {
		m, err := r.gateway.admin.Metrics(ctx)
		if err != nil {
			return err
		}
		if int(m[`longline_packets_received_total{op="ack"}`]) == r.Devices {
			return nil
		}
		if err := pause(ctx, look); err != nil {
			return err
		}
	}
}

// callers is the number of calls under way at a time.
const callers = 16

// calls calls devices from all over the fleet and checks their answers.
func (r *run) calls(ctx context.Context, p phase) error {
	latency := hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
	var mu sync.Mutex // guards latency and failure
	var failure error
	var next, failed atomic.Int64
	n := min(r.Calls, r.Devices)
	var wg sync.WaitGroup
	begin := time.Now()
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				took, err := r.call(ctx, fmt.Sprintf("fleet-%d", i*r.Devices/n))
				mu.Lock()
				if err != nil {
					failed.Add(1)
					failure = err
				}
				_ = latency.RecordValue(took.Microseconds()) // a call times out before the end of the range
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	p.add("devices called", float64(n), "")
	p.add("calls per second, 16 at a time", float64(n)/time.Since(begin).Seconds(), "1/s")
	p.add("latency p50", float64(latency.ValueAtPercentile(50))/1000, "ms")
	p.add("latency p99", float64(latency.ValueAtPercentile(99))/1000, "ms")
	p.add("latency max", float64(latency.Max())/1000, "ms")
	p.add("lost", float64(failed.Load()), "")
	return failure
}

func (r *run) call(ctx context.Context, device string) (time.Duration, error) {
	begin := time.Now()
	resp, err := r.gateway.api.Call(ctx, connect.NewRequest(&longlinev1.CallRequest{Device: device, Method: "echo", Payload: []byte(device)}))
	took := time.Since(begin)
	if err == nil && string(resp.Msg.Payload) != device {
		err = fmt.Errorf("%s answered %q", device, resp.Msg.Payload)
	}
	return took, err
}
