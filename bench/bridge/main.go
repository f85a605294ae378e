// Command bridge measures what a bridge loses while the broker at its other end is away: that of Mosquitto, between two of them, and Longline's
// sink of MQTT. It starts all of them itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/test/servers"
)

type options struct {
	Only []string `placeholder:"NAME" help:"Only these: longline, mosquitto, or mosquitto-unbounded."`

	Rate     int           `default:"2000" help:"Messages per second, of QoS 1."`
	Devices  int           `default:"20" help:"Devices that publish them."`
	Size     int           `default:"128" help:"Bytes of a payload."`
	Before   time.Duration `default:"5s" help:"Time before the other end goes away."`
	Away     time.Duration `default:"30s" help:"Time for which it is away."`
	After    time.Duration `default:"10s" help:"Time for which devices publish after that."`
	Kill     bool          `help:"Also kill the near end, in the middle of that time, and start it again."`
	Data     string        `default:"bench/bridge/out" help:"Folder for files."`
	Longline string        `default:"bin/longline" help:"The gateway's program."`
}

func main() {
	var o options
	bench.Program("bridge", "Measure what a bridge loses while its other end is away.", &o, o.run)
}

// noLog is a log that nobody reads.
var noLog = slog.New(slog.NewTextHandler(io.Discard, nil))

// end is the near end of a bridge.
type end interface {
	URL() string
	Kill()
	Restart(ctx context.Context) error
	PID() int
}

func (o *options) run(ctx context.Context) error {
	fmt.Printf("%d devices publish %d/s of QoS 1, %d B; after %v the other broker is killed, and away for %v", o.Devices, o.Rate, o.Size, o.Before, o.Away)
	if o.Kill {
		fmt.Print("; meanwhile the near end is killed, too")
	}
	fmt.Print("\n\n")
	grid := bench.Grid{{"", "acknowledged", "lost", "twice", "out of order", "caught up, s", "CPU, us/message"}}
	for _, kind := range []struct {
		name  string
		start func(ctx context.Context, dir string, far *servers.Process) (end, error)
	}{
		{"longline", o.startLongline},
		{"mosquitto", func(ctx context.Context, dir string, far *servers.Process) (end, error) {
			return startMosquitto(ctx, dir, far)
		}},
		{"mosquitto-unbounded", func(ctx context.Context, dir string, far *servers.Process) (end, error) {
			return startMosquitto(ctx, dir, far, "max_queued_messages 0")
		}},
	} {
		if len(o.Only) > 0 && !contains(o.Only, kind.name) {
			continue
		}
		r, err := o.measure(ctx, kind.name, kind.start)
		if err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		grid = append(grid, []string{
			kind.name, fmt.Sprint(r.acknowledged), fmt.Sprint(r.lost), fmt.Sprint(r.twice), fmt.Sprint(r.disorder), fmt.Sprintf("%.1f", r.caughtUp.Seconds()),
			fmt.Sprintf("%.0f", bench.Micros(r.cpu)),
		})
	}
	fmt.Println(grid)
	return nil
}

// result is what became of the messages.
type result struct {
	acknowledged, lost, twice, disorder int
	caughtUp                            time.Duration
	cpu                                 time.Duration // of the near end, per message
}

// measure measures one bridge.
func (o *options) measure(ctx context.Context, name string, start func(context.Context, string, *servers.Process) (end, error)) (r result, err error) {
	dir, err := filepath.Abs(filepath.Join(o.Data, name))
	if err == nil {
		err = errors.Join(os.RemoveAll(dir), os.MkdirAll(filepath.Join(dir, "far"), 0o755), os.MkdirAll(filepath.Join(dir, "near"), 0o755))
	}
	if err != nil {
		return r, err
	}
	// The far end has no bounds, so that what is lost is lost by the bridge. It does not write messages to its disk: it hands them to the subscriber
	// before it acknowledges them.
	far, err := servers.Launch(ctx, servers.MosquittoProgram("autosave_on_changes false", "max_queued_messages 0", "max_inflight_messages 0"), filepath.Join(dir, "far"))
	if far != nil {
		defer far.Kill()
	}
	if err != nil {
		return r, err
	}
	s, err := subscribe(ctx, "mqtt://"+far.Address(), o.Devices)
	if err != nil {
		return r, err
	}
	defer s.close()
	if err := save(ctx, far); err != nil {
		return r, err
	}
	near, err := start(ctx, filepath.Join(dir, "near"), far)
	if near != nil {
		defer near.Kill()
	}
	if err != nil {
		return r, err
	}
	p, err := o.publish(ctx, near.URL())
	if err != nil {
		return r, err
	}
	defer p.stop()
	back, err := o.outage(ctx, near, far)
	if err != nil {
		return r, err
	}
	r.caughtUp = s.caughtUp(ctx, back)
	pause(ctx, o.After-time.Since(back))
	acknowledged := p.stop()
	s.settle(ctx, acknowledged)
	spent, err := bench.Process(near.PID()).CPU()
	r.lost, r.twice, r.disorder = s.compare(acknowledged)
	for _, n := range acknowledged {
		r.acknowledged += n
	}
	r.cpu = spent / time.Duration(max(1, r.acknowledged))
	return r, err
}

// save makes a Mosquitto write its sessions to its disk.
func save(ctx context.Context, m *servers.Process) error {
	if err := syscall.Kill(m.PID(), syscall.SIGUSR1); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if s, err := os.Stat(filepath.Join(m.Dir, "mosquitto.db")); err == nil && s.Size() > 0 {
			break
		}
		pause(ctx, 20*time.Millisecond)
	}
	return ctx.Err()
}

// outage kills the far end, and starts it again. It returns when it is back.
func (o *options) outage(ctx context.Context, near end, far *servers.Process) (back time.Time, err error) {
	pause(ctx, o.Before)
	far.Kill()
	pause(ctx, o.Away/2)
	if o.Kill {
		near.Kill()
		if err := near.Restart(ctx); err != nil {
			return back, err
		}
	}
	pause(ctx, o.Away/2)
	if err := far.Restart(ctx); err != nil {
		return back, err
	}
	return time.Now(), ctx.Err()
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func contains(list []string, name string) bool {
	for _, each := range list {
		if each == name {
			return true
		}
	}
	return false
}
