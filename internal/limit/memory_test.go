package limit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gauge is a memory whose use, in percent, the test sets.
type gauge struct {
	mu      sync.Mutex
	percent int64
	err     error
}

func (g *gauge) read() (Usage, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Usage{g.percent << 20, 100 << 20}, g.err
}

func (g *gauge) set(percent int64, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.percent, g.err = percent, err
}

func TestMemoryStages(t *testing.T) {
	var g gauge
	m, err := NewMemory(MemoryConfig{SlowReaders: 60, RefuseNew: 70, ShedQoS0: 80, CloseSlow: 90, Slack: 5}, g.read)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		percent int64
		want    Stage
	}{
		{0, Calm}, {59, Calm}, {60, SlowReaders}, {56, SlowReaders}, {55, SlowReaders}, {54, Calm}, {59, Calm},
		{70, RefuseNew}, {65, RefuseNew}, {64, SlowReaders}, {69, SlowReaders},
		{95, CloseSlow}, {85, CloseSlow}, {84, ShedQoS0}, {89, ShedQoS0}, {200, CloseSlow}, {0, Calm},
	} {
		g.set(step.percent, nil)
		if err := m.Sample(); err != nil {
			t.Fatal(err)
		}
		if m.Stage() != step.want {
			t.Errorf("at %d%% the stage is %v, want %v", step.percent, m.Stage(), step.want)
		}
	}
	if u := m.Usage(); u != (Usage{0, 100 << 20}) {
		t.Errorf("%+v", u)
	}
}

func TestMemoryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gauge
		m, err := NewMemory(MemoryConfig{Interval: time.Second}.WithDefaults(), g.read)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		failures, told := 0, Calm
		done := make(chan struct{})
		go func() {
			m.Run(ctx, func(s Stage) { told = s }, func(error) { failures++ })
			close(done)
		}()
		pass := func() { time.Sleep(time.Second); synctest.Wait() }

		synctest.Wait()
		g.set(99, nil)
		pass()
		if m.Stage() != CloseSlow || told != CloseSlow || told.String() != "close_slow" {
			t.Errorf("%v, told %v", m.Stage(), told)
		}
		g.set(0, errors.New("no file"))
		pass()
		if m.Stage() != CloseSlow || failures != 1 {
			t.Errorf("a sample that failed left %v, and was told %d times", m.Stage(), failures)
		}
		cancel()
		<-done
	})
}

func TestMemoryThatCannotBeRead(t *testing.T) {
	g := gauge{err: errors.New("no file")}
	if _, err := NewMemory(MemoryConfig{}.WithDefaults(), g.read); err == nil {
		t.Error("nobody would know that memory is not watched")
	}
}
