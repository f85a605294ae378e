package model

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/service"
)

// counters count what became of messages and calls. All methods are safe from any goroutine.
type counters struct {
	messages  [results]atomic.Uint64
	calls     [len(callResults)]atomic.Uint64
	rows      atomic.Uint64 // in calls
	latency   service.Recorder
	windows   atomic.Int64
	forgotten atomic.Uint64 // windows
}

// The results of calls, in metrics.
var callResults = [...]string{"ok", "refused", "failed"}

// call notes the end of a call.
func (c *counters) call(took time.Duration, rows int, err error) {
	n := 0
	if err != nil {
		n = 2
		if isRefusal(err) {
			n = 1
		}
	}
	c.calls[n].Add(1)
	c.rows.Add(uint64(rows))
	c.latency.Observe(took)
}

// Info is what is known of a model at one moment.
type Info struct {
	Name      string
	Messages  map[string]uint64 // by Result
	Calls     map[string]uint64 // that have ended: ok, refused, failed
	Rows      uint64            // messages in these calls
	Latency   service.Histogram // of calls
	UnderWay  int               // calls
	Waiting   int               // messages in the queue
	Breaker   string            // closed, half-open or open
	Windows   int
	Forgotten uint64 // windows that had to go for others
}

// Info returns what is known of m.
func (m *Model) Info() Info {
	c := &m.counters
	i := Info{
		Name: m.name, Messages: make(map[string]uint64, results), Calls: make(map[string]uint64, len(callResults)),
		Rows: c.rows.Load(), Latency: c.latency.Read(), UnderWay: len(m.turns), Breaker: m.breaker.State(),
		Windows: int(c.windows.Load()), Forgotten: c.forgotten.Load(),
	}
	for r := range results {
		i.Messages[r.String()] = c.messages[r].Load()
	}
	for n, name := range callResults {
		i.Calls[name] = c.calls[n].Load()
	}
	if m.feed != nil {
		i.Waiting = int(m.feed.inbox.Ledger().Waiting)
	}
	return i
}

// again is how often a model that does not answer, or messages that do not fit, are logged.
const again = time.Minute

// health logs when a model does not answer, and when it answers again. Safe from any goroutine.
type health struct {
	mu     sync.Mutex
	fails  bool
	logged time.Time

	refused, unfit sampled // messages
}

// note notes whether the model has answered.
func (h *health) note(m *Model, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil && h.fails:
		h.fails = false
		m.log.Info("the model answers again")
	case err != nil && m.life.Err() == nil && (!h.fails || now.Sub(h.logged) >= again):
		h.fails, h.logged = true, now
		m.log.Warn("the model does not answer: messages go on without it", "error", err)
	}
}

// sampled logs a line about messages at most once in a while. Safe from any goroutine.
type sampled struct {
	mu       sync.Mutex
	messages uint64 // since the last line
	last     time.Time
}

// note notes a message.
func (s *sampled) note(log *slog.Logger, text string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages++
	if now := time.Now(); now.Sub(s.last) >= again {
		log.Warn(text, "messages", s.messages, "error", err)
		s.messages, s.last = 0, now
	}
}
