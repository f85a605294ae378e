package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/bench"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// uplink measures the whole gateway: a fleet publishes with QoS 0 at the paced rate, and one
// subscriber of the backend API reads all messages.
func (o *options) uplink(ctx context.Context, r *bench.Summary) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	longline := filepath.Join(o.Bin, "longline")
	gateway, devices, admin, err := bench.StartGateway(ctx, o.ServerCPU, longline, o.Few)
	if err != nil {
		return fmt.Errorf("uplink: %w", err)
	}
	defer bench.Stop(gateway)
	var taken atomic.Uint64
	lost := make(chan error, 1)
	go func() { lost <- subscribe(ctx, "http://"+admin.String(), &taken) }()
	fleet := bench.Command(ctx, o.ClientCPU, longline, "fleet", "run", "--quiet", "--qos=0", "--gateway=ws://"+devices.String()+"/connect",
		"--devices="+strconv.Itoa(o.Few), "--rate="+strconv.FormatFloat(o.Rate, 'f', -1, 64), "--payload="+strconv.Itoa(o.Size))
	if err := fleet.Start(); err != nil {
		return err
	}
	defer bench.Stop(fleet)
	for deadline := time.Now().Add(30 * time.Second); taken.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("uplink: the subscriber got nothing")
		}
	}
	time.Sleep(o.Warmup)
	cost, err := o.watch(bench.Process(gateway.Process.Pid), &taken, lost)
	if err == nil {
		r.Add("uplink", cost)
	}
	return err
}

// watch returns the CPU time of p per message that the subscriber gets, in microseconds.
func (o *options) watch(p bench.Process, taken *atomic.Uint64, lost <-chan error) (float64, error) {
	n := taken.Load()
	cpu, err := p.CPU()
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(o.Duration):
	case err := <-lost:
		return 0, fmt.Errorf("uplink: the subscription ended: %w", err)
	}
	after, err := p.CPU()
	if err != nil {
		return 0, err
	}
	got := taken.Load() - n
	if want := o.Rate * o.Duration.Seconds(); float64(got) < 0.95*want {
		return 0, fmt.Errorf("uplink: %d of %.0f messages arrived", got, want)
	}
	return bench.Micros(after-cpu) / float64(got), nil
}

// subscribe reads and counts all messages of the devices.
func subscribe(ctx context.Context, url string, taken *atomic.Uint64) error {
	client := longlinev1connect.NewGatewayClient(http.DefaultClient, url)
	stream, err := client.Subscribe(ctx, connect.NewRequest(&longlinev1.SubscribeRequest{Filters: []string{"device/#"}}))
	if err != nil {
		return err
	}
	for stream.Receive() {
		taken.Add(uint64(len(stream.Msg().GetMessages())))
	}
	return errors.Join(stream.Err(), stream.Close(), io.EOF)
}
