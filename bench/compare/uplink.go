package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/bench"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// uplink measures the whole gateway: a fleet publishes with QoS 0 at the paced rate, and one
// subscriber of the backend API takes all of it.
func (o *options) uplink(ctx context.Context, r *row) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gateway, devices, admin, err := o.startGateway(ctx)
	if err != nil {
		return err
	}
	defer stopProcess(gateway)
	var taken atomic.Uint64
	lost := make(chan error, 1)
	go func() { lost <- subscribe(ctx, "http://"+admin, &taken) }()
	fleet := o.command(ctx, o.ClientCPU, "fleet", "run", "--quiet", "--qos=0", "--gateway=ws://"+devices+"/connect",
		"--devices="+strconv.Itoa(o.Few), "--rate="+strconv.FormatFloat(o.Rate, 'f', -1, 64), "--payload="+strconv.Itoa(o.Size))
	if err := fleet.Start(); err != nil {
		return err
	}
	defer stopProcess(fleet)
	for deadline := time.Now().Add(30 * time.Second); taken.Load() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("uplink: the subscriber got nothing")
		}
	}
	time.Sleep(o.Warmup)
	cost, err := o.watch(bench.Process(gateway.Process.Pid), &taken, lost)
	if err == nil {
		r.add("uplink", cost)
	}
	return err
}

// watch returns the CPU time of p for each message that is taken, in microseconds.
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
	return micros(after-cpu) / float64(got), nil
}

// subscribe takes all that devices publish, and counts it.
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

// listening finds the addresses in what a gateway logs when it is ready.
var listening = regexp.MustCompile(`msg=listening devices=(\S+) admin=(\S+)`)

// startGateway starts a gateway on the servers' processor and returns its addresses.
func (o *options) startGateway(ctx context.Context) (c *exec.Cmd, devices, admin string, err error) {
	c = o.command(ctx, o.ServerCPU, "serve", "--insecure", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0")
	c.Env = append(os.Environ(), "GOMAXPROCS=1")
	log, err := c.StderrPipe()
	if err != nil {
		return nil, "", "", err
	}
	if err := c.Start(); err != nil {
		return nil, "", "", err
	}
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, log) }() // ends with the process
			return c, m[1], m[2], nil
		}
	}
	stopProcess(c)
	return nil, "", "", errors.New("uplink: the gateway did not start")
}

// command is longline with args, on a processor of its own.
func (o *options) command(ctx context.Context, cpu int, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "taskset", append([]string{"-c", strconv.Itoa(cpu), filepath.Join(o.Bin, "longline")}, args...)...)
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = stopTime
	return c
}

// stopProcess ends a process and waits for it; a drain is cut short by a second signal.
func stopProcess(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGTERM)
	again := time.AfterFunc(time.Second, func() { _ = c.Process.Signal(syscall.SIGTERM) })
	kill := time.AfterFunc(stopTime, func() { _ = c.Process.Kill() })
	defer again.Stop()
	defer kill.Stop()
	_ = c.Wait() // it ends by the signal
}
