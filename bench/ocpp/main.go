// Command ocpp measures chargers: they ask a service and are asked by a backend at the same time, both through one gateway.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/longline/longline/internal/bench"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

type options struct {
	Chargers int           `default:"10000" help:"Chargers."`
	Rate     float64       `default:"2000" help:"CALLs of all chargers per second: Heartbeat and MeterValues alternately."`
	Calls    float64       `default:"200" help:"Calls of the backend per second, to chargers at random."`
	Size     int           `default:"512" help:"About how many bytes a MeterValues has."`
	Warmup   time.Duration `default:"5s" help:"Time of the load before it is measured."`
	Duration time.Duration `default:"30s" help:"Time that the load is measured."`
	Longline string        `default:"bin/longline" type:"existingfile" help:"The gateway's program."`
}

// bar is the bar of the 99th percentile.
const bar = 50 * time.Millisecond

// prefix begins the identities of chargers.
const prefix = "cp-"

func main() {
	var o options
	bench.Program("ocpp", "Measure chargers that ask a service and are asked by a backend.", &o, o.run)
}

func (o *options) run(ctx context.Context) error {
	url, err := startService(ctx)
	if err != nil {
		return err
	}
	more := fmt.Sprintf("services: {csms: {instances: [%q]}}\nocpp: {service: csms}\nsessions: {per_credential: 2000000}\nlog: {level: info}", url)
	gateway, devices, admin, err := bench.StartGateway(ctx, -1, o.Longline, o.Chargers+100, more)
	if err != nil {
		return err
	}
	defer bench.Stop(gateway)
	target := bench.Target{Addr: devices, Process: bench.Process(gateway.Process.Pid), Devices: prefix, Chargers: true}
	chargers, err := bench.Connect(ctx, target, o.Chargers)
	if err != nil {
		return err
	}
	defer chargers.Close()

	caller := &caller{api: longlinev1connect.NewGatewayClient(http.DefaultClient, "http://"+admin.String()), chargers: o.Chargers,
		latency: hdrhistogram.New(1000, int64(time.Minute), 3)}
	calling, stop := context.WithTimeout(ctx, o.Warmup+o.Duration-edge) // chargers answer as long as they have a load
	defer stop()
	called := make(chan error, 1)
	go func() { called <- caller.run(calling, o.Warmup, o.Calls) }()
	asked, err := chargers.Charge(ctx, bench.Load{Size: o.Size, Warmup: o.Warmup, Duration: o.Duration, Rate: o.Rate})
	stop()
	if err = errors.Join(err, <-called); err != nil {
		return err
	}
	memory, err := target.Process.Memory()
	if err != nil {
		return err
	}
	faults, err := (&bench.Admin{URL: "http://" + admin.String(), Client: http.DefaultClient}).Metrics(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d chargers of OCPP 1.6, %v\n", o.Chargers, asked.Elapsed.Round(time.Second))
	show("charger -> service -> answer", asked.Latency, asked.Rate())
	show("backend -> charger -> answer", caller.latency, float64(caller.latency.TotalCount())/asked.Elapsed.Seconds())
	fmt.Printf("    CPU of the gateway per CALL of a charger, with all else: %v\n", asked.Cost().Round(100*time.Nanosecond))
	fmt.Printf("    memory of the gateway: %.1f MB\n", float64(memory)/1e6)
	unpaired := faults.Sum("longline_ocpp_faults_total")
	fmt.Printf("    unpaired: %v\n", unpaired)
	if unpaired > 0 {
		return errors.New("some answers were not paired")
	}
	return nil
}

// show prints a line of latencies.
func show(what string, h *hdrhistogram.Histogram, rate float64) {
	verdict := "held"
	p99 := time.Duration(h.ValueAtQuantile(99))
	if p99 > bar {
		verdict = "missed"
	}
	fmt.Printf("    %s: %.0f/s, p50 %v, p99 %v (bar %v: %s), max %v\n", what, rate,
		round(h.ValueAtQuantile(50)), round(int64(p99)), bar, verdict, round(h.Max()))
}

func round(ns int64) time.Duration { return time.Duration(ns).Round(10 * time.Microsecond) }

// startService starts the service that answers chargers, until ctx ends.
func startService(ctx context.Context) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			body, err = bench.ChargeAnswer(r.Header.Get("Longline-Device"), body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // the gateway tells the charger when it has not got it
	})}
	go func() { _ = server.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return "http://" + l.Addr().String(), nil
}

// caller is a backend that calls chargers at random.
type caller struct {
	api      longlinev1connect.GatewayClient
	chargers int

	mu      sync.Mutex
	latency *hdrhistogram.Histogram
}

// edge is how much later than the chargers the backend begins, and how much earlier it ends.
const edge = 500 * time.Millisecond

// callers is how many calls may be under way.
const callers = 64

// run calls chargers until ctx ends, and counts from after warmup on. The latency of a call counts from when it was due.
func (c *caller) run(ctx context.Context, warmup time.Duration, rate float64) error {
	begin := time.Now()
	warmup += edge
	due, failed := make(chan time.Time, callers), make(chan error, callers)
	for range callers {
		go func() {
			for at := range due {
				if err := c.call(at, at.Sub(begin) >= warmup); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for n := 0; ctx.Err() == nil; n++ {
		at := begin.Add(edge + time.Duration(float64(n)/rate*float64(time.Second)))
		select {
		case <-time.After(time.Until(at)):
			select {
			case due <- at:
			case <-ctx.Done():
			}
		case <-ctx.Done():
		}
	}
	close(due)
	var err error
	for range callers {
		err = errors.Join(err, <-failed)
	}
	return err
}

func (c *caller) call(at time.Time, counts bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	device, text := fmt.Sprint(prefix, rand.IntN(c.chargers)), fmt.Sprintf(`{"of":"%d"}`, rand.Uint64())
	r, err := c.api.Call(ctx, connect.NewRequest(&longlinev1.CallRequest{Device: device, Method: "DataTransfer", Text: &text}))
	switch {
	case err != nil:
		return err
	case r.Msg.Error != nil || r.Msg.GetText() != text:
		return fmt.Errorf("%s answered %v to %s", device, r.Msg, text)
	case !counts:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latency.RecordValue(min(time.Since(at).Nanoseconds(), int64(time.Minute)))
}
