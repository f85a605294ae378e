package fleet

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How often progress is shown: on a terminal in one line that changes, elsewhere in a new line
// each time.
const (
	terminalInterval = 200 * time.Millisecond
	plainInterval    = 2 * time.Second
	barWidth         = 24
)

// progress shows how far a run is, on a goroutine of its own.
type progress struct {
	fleet     *Fleet
	recording *recording
	w         io.Writer
	terminal  bool

	done chan struct{}
	wg   sync.WaitGroup
	last struct {
		at    time.Duration
		count uint64
	}
}

func startProgress(f *Fleet, r *recording, w io.Writer) *progress {
	p := &progress{fleet: f, recording: r, w: w, terminal: isTerminal(w), done: make(chan struct{})}
	if w != nil {
		p.wg.Go(p.run)
	}
	return p
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

func (p *progress) stop() {
	close(p.done)
	p.wg.Wait()
}

func (p *progress) run() {
	interval := plainInterval
	if p.terminal {
		interval = terminalInterval
	}
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.show()
		case <-p.done:
			p.show()
			if p.terminal {
				_, _ = io.WriteString(p.w, "\n")
			}
			return
		}
	}
}

func (p *progress) show() {
	line := p.line(p.fleet.Snapshot(), p.fleet.clock())
	if p.terminal {
		line = "\r\x1b[K" + line // back to the start, and erase what was there
	} else {
		line += "\n"
	}
	_, _ = io.WriteString(p.w, line)
}

// line returns a line that says how far the run is.
func (p *progress) line(s Snapshot, now time.Duration) string {
	var b strings.Builder
	if p.recording != nil {
		settled := s.Acknowledged + s.Refused + s.Unsent
		if p.fleet.config.frames() {
			settled = s.Sent + s.Unsent
		}
		fmt.Fprintf(&b, "%s %d/%d rows, ", bar(settled, p.recording.rows), settled, p.recording.rows)
	}
	rate := float64(s.Sent-p.last.count) / max(0.001, (now-p.last.at).Seconds())
	p.last.at, p.last.count = now, s.Sent
	fmt.Fprintf(&b, "%d/%d connected, %d sent (%.0f/s), %d acknowledged, %d refused",
		s.Connected, p.fleet.devices, s.Sent, rate, s.Acknowledged, s.Refused)
	if s.Connected < p.fleet.devices && s.lastReason != "" {
		fmt.Fprintf(&b, "; %s", s.lastReason)
	}
	return b.String()
}

// bar draws the part that is done.
func bar(done uint64, all int) string {
	full := int(done) * barWidth / max(1, all)
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", barWidth-full) + "]"
}
