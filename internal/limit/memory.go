package limit

import (
	"context"
	"sync/atomic"
	"time"
)

// Stage is how much a node does to save memory. Each stage includes the earlier ones.
type Stage uint8

const (
	Calm        Stage = iota
	SlowReaders       // devices that publish are read less often
	RefuseNew         // new connections are answered 503
	ShedQoS0          // QoS 0 messages that would have to wait are dropped
	CloseSlow         // the connections of slow consumers are closed
	stages
)

var stageNames = [stages]string{"calm", "slow_readers", "refuse_new", "shed_qos0", "close_slow"}

func (s Stage) String() string { return stageNames[s] }

// Usage is the memory in use and its limit, in bytes.
type Usage struct{ Used, Limit int64 }

// share returns the used part of the limit in percent.
func (u Usage) share() float64 { return 100 * float64(u.Used) / float64(u.Limit) }

// Memory decides the stage from the use of memory. A stage begins at its mark and
// ends some percent below it, so that it does not flap. Stage and Usage are safe from
// any goroutine.
type Memory struct {
	// Static after construction.
	marks    [stages]float64 // percent at which a stage begins
	slack    float64         // percent below its mark at which it ends
	interval time.Duration
	read     func() (Usage, error)

	// Safe from any goroutine; written by Sample.
	stage       atomic.Uint32
	used, limit atomic.Int64
}

// NewMemory returns a Memory with the marks of c, whose defaults are set, after a first Sample.
// read returns the use of memory, such as ProcessMemory's.
func NewMemory(c MemoryConfig, read func() (Usage, error)) (*Memory, error) {
	m := &Memory{slack: float64(c.Slack), interval: c.Interval, read: read}
	for s, percent := range c.marks() {
		m.marks[s] = float64(percent)
	}
	return m, m.Sample()
}

// Run samples until ctx is done, and calls onStage with the stage after each sample. A sample that
// fails leaves the stage as it is, and Run calls onError.
func (m *Memory) Run(ctx context.Context, onStage func(Stage), onError func(error)) {
	tick := time.NewTicker(m.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := m.Sample(); err != nil {
				onError(err)
				continue
			}
			onStage(m.Stage())
		}
	}
}

// Sample reads the use of memory and sets the stage. One goroutine calls it.
func (m *Memory) Sample() error {
	u, err := m.read()
	if err != nil {
		return err
	}
	m.used.Store(u.Used)
	m.limit.Store(u.Limit)
	m.stage.Store(uint32(m.next(m.Stage(), u.share())))
	return nil
}

// next returns the stage that follows now at a use of percent.
func (m *Memory) next(now Stage, percent float64) Stage {
	next := CloseSlow
	for ; next > Calm; next-- {
		mark := m.marks[next]
		if next <= now {
			mark -= m.slack
		}
		if percent >= mark {
			break
		}
	}
	return next
}

// Stage returns the current stage.
func (m *Memory) Stage() Stage { return Stage(m.stage.Load()) }

// Usage returns the last sample.
func (m *Memory) Usage() Usage { return Usage{m.used.Load(), m.limit.Load()} }
