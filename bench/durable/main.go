// Command durable measures what it costs that messages survive: publications of QoS 1 for a session that is away, with
// Longline in memory, on disk, and on disk with a stream that gets the messages as well; with NATS, which syncs each message as
// well, and with Mosquitto, which does not: it writes its database every half hour, and at its end.
//
// Every server runs alone, pinned to the first processor. The client is pinned to the second.
// Repetitions are interleaved: each server once, then each again.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/internal/message"
)

type options struct {
	bench.Versus
	Devices int     `default:"1000" help:"Devices that publish."`
	Rate    float64 `default:"20000" help:"Messages per second where the rate is fixed."`
	Size    int     `default:"128" help:"Bytes per message."`
	Loads   string  `default:"closed,paced" help:"Only these loads: closed, with one message of each device in flight, or paced, at the fixed rate."`
	Data    string  `default:"out/data" help:"Folder for the servers' files: on the disk that is to be measured, and not in memory."`
}

func main() {
	var o options
	bench.Program("durable", "Measure what it costs that messages survive.", &o, o.run)
}

// measures are the lines of the tables, in order.
var measures = []bench.Measure{
	{Key: "closed", Title: "one in flight of each device", Unit: "acknowledged/s"},
	{Key: "closed_p99", Title: "the same: 99% are acknowledged within", Unit: "ms"},
	{Key: "closed_cpu", Title: "the same: server's CPU", Unit: "us/message"},
	{Key: "paced_p50", Title: "at a fixed rate: 50% are acknowledged within", Unit: "ms"},
	{Key: "paced_p99", Title: "at a fixed rate: 99% are acknowledged within", Unit: "ms"},
	{Key: "paced_cpu", Title: "at a fixed rate: server's CPU", Unit: "us/message"},
}

// onDisk are the servers that have to hold the bars.
var onDisk = []string{"longline", "streamed"}

// bar is what the figure of a server on disk must hold against another server's.
type bar struct {
	key, than string
	holds     func(value, other float64) bool
	text      string
}

var bars = []bar{
	{"closed", "memory", func(l, o float64) bool { return l >= 0.8*o }, ">= 0.8 times memory"},
	{"closed", "nats", func(l, o float64) bool { return l >= 20*o }, ">= 20 times nats"},
	{"closed", "mosquitto", func(l, o float64) bool { return l >= 0.9*o }, ">= 0.9 times mosquitto"},
	{"paced_p50", "", func(l, _ float64) bool { return l <= 3 }, "<= 3 ms"},
	{"paced_p99", "", func(l, _ float64) bool { return l <= 10 }, "<= 10 ms"},
	{"paced_cpu", "memory", func(l, o float64) bool { return l-o <= 5 }, "<= 5 us above memory"},
}

// run makes all measurements, unless ctx ends.
func (o *options) run(ctx context.Context) error {
	servers, err := o.servers()
	if err != nil {
		return err
	}
	if err := bench.Pin(o.ClientCPU); err != nil {
		return err
	}
	c := bench.NewComparison(o, measures, servers)
	if err := c.Repeat(o.Reps, os.Stderr, func(i int, s *bench.Summary) error { return o.measure(ctx, &servers[i], s) }); err != nil {
		return err
	}
	chart := bench.Chart{Title: "What it costs that messages survive", Subtitle: o.describe()}
	for _, m := range measures {
		chart.Panels = append(chart.Panels, c.Panel(m))
	}
	if err := c.WriteFiles(o.Out, "durable", &chart); err != nil {
		return err
	}
	_, err = io.WriteString(os.Stdout, o.text(c))
	return err
}

func (o *options) describe() string {
	return fmt.Sprintf("MQTT 3.1.1 over WebSocket, QoS 1, messages of %d B for one session that is away, median of %d, %v each. %d devices; %.0f messages/s where the rate is fixed.",
		o.Size, o.Reps, o.Duration, o.Devices, o.Rate)
}

// text returns the result in Markdown.
func (o *options) text(c *bench.Comparison) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n%s\n", o.describe(), c.Machine, c.Medians())
	g := bench.Grid{{"bars", "server", "its value", "the other", "bar"}}
	for _, bar := range bars {
		for _, name := range onDisk {
			if line := bar.line(c, name); line != nil {
				g = append(g, line)
			}
		}
	}
	if len(g) > 1 {
		fmt.Fprintf(&b, "%s\n", g)
	}
	return b.String()
}

// line returns a line of the table of bars, or nil if something was not measured.
func (b *bar) line(c *bench.Comparison, name string) []string {
	value, ok := median(c, name, b.key)
	if !ok {
		return nil
	}
	other, shown := 0.0, "-"
	if b.than != "" {
		if other, ok = median(c, b.than, b.key); !ok {
			return nil
		}
		shown = bench.Short(other)
	}
	verdict := " missed"
	if b.holds(value, other) {
		verdict = " held"
	}
	var title string
	for _, m := range measures {
		if m.Key == b.key {
			title = m.String()
		}
	}
	return []string{title, name, bench.Short(value), shown, b.text + verdict}
}

// median returns a measure of a server, and whether there is one.
func median(c *bench.Comparison, name, key string) (value float64, ok bool) {
	s := c.Server(name)
	if s == nil || len(s.Measures[key].Values) == 0 {
		return 0, false
	}
	return s.Measures[key].Median, true
}

// measure runs one repetition of one server.
func (o *options) measure(ctx context.Context, s *server, all *bench.Summary) error {
	if strings.Contains(o.Loads, "closed") {
		closed, err := o.load(ctx, s, all, 0)
		if err != nil {
			return err
		}
		all.Add("closed", closed.Rate())
		all.Add("closed_p99", millis(&closed, 99))
		all.Add("closed_cpu", bench.Micros(closed.Cost()))
		if closed.Rate() < 1.2*o.Rate {
			return nil // it cannot keep pace
		}
	}
	if !strings.Contains(o.Loads, "paced") {
		return nil
	}
	paced, err := o.load(ctx, s, all, o.Rate)
	if err != nil {
		return err
	}
	all.Add("paced_p50", millis(&paced, 50))
	all.Add("paced_p99", millis(&paced, 99))
	all.Add("paced_cpu", bench.Micros(paced.Cost()))
	return nil
}

func millis(r *bench.Result, percent float64) float64 {
	return bench.Micros(r.Percentile(percent)) / 1000
}

// load starts a server on an empty folder, makes a session that is away, and publishes to it.
func (o *options) load(ctx context.Context, s *server, all *bench.Summary, rate float64) (r bench.Result, err error) {
	if err := os.MkdirAll(o.Data, 0o755); err != nil {
		return r, err
	}
	folder, err := os.MkdirTemp(o.Data, s.name+"-*")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if folder, err = filepath.Abs(folder); err != nil {
		return r, err
	}
	started, err := s.start(ctx, o.ServerCPU, folder)
	if err != nil {
		return r, err
	}
	defer started.stop()
	all.Version = started.version
	if err := o.away(ctx, started); err != nil {
		return r, fmt.Errorf("the session that is away: %w", err)
	}
	c, err := bench.Connect(ctx, bench.Target{Addr: started.addr, Process: started.process(), Devices: "bench-", MQTT: &bench.MQTT{}}, o.Devices+1)
	if err != nil {
		return r, err
	}
	defer c.Close()
	return c.MQTTAcknowledged(ctx, bench.Load{Size: o.Size, Warmup: o.Warmup, Duration: o.Duration, Rate: rate})
}

// away makes a session with a subscription to all that devices publish, and closes its connection.
func (o *options) away(ctx context.Context, s *running) error {
	m := &bench.MQTT{Filter: bench.FilterTelemetry, QoS: message.AtLeastOnce, Stays: true}
	c, err := bench.Connect(ctx, bench.Target{Addr: s.addr, Devices: "away-", MQTT: m}, 1)
	if err != nil {
		return err
	}
	c.Close()
	return nil
}
