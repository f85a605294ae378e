package device

import (
	"slices"
	"sync"

	"github.com/longline/longline/internal/wire"
)

// answers remembers what the device has answered to calls. A backend's command is a call that the gateway sends again, on a
// later connection, if it does not know the answer: the device gives the answer that it gave, or that the handler which still
// runs will give, and runs no handler twice. The memory is bounded, and ends with the process.
type answers struct {
	mu    sync.Mutex
	calls map[uint64]*answered
	line  []uint64 // answered calls, oldest first
	bytes int      // of the replies of those
}

// Bounds of answers.
const (
	maxAnswers     = 256
	maxAnswerBytes = 1 << 20
)

// answered is a call that a handler runs for, or that was answered. Guarded by answers.mu.
type answered struct {
	link  *link        // the call came over it last
	reply *wire.Packet // nil while the handler runs
}

// begin notes that a handler is about to run for a call; end or forget follows. It returns false if the call is known, because
// it came before: with its reply, or without one if the handler still runs, whose reply will go over l.
func (a *answers) begin(l *link, p *wire.Packet) (reply *wire.Packet, fresh bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch c := a.calls[p.ID]; {
	case c == nil:
	case p.Again || c.reply == nil:
		c.link = l
		return c.reply, false
	default: // another call with the same id
		a.drop(slices.Index(a.line, p.ID))
	}
	if a.calls == nil {
		a.calls = make(map[uint64]*answered)
	}
	a.calls[p.ID] = &answered{link: l}
	return nil, true
}

// forget undoes begin.
func (a *answers) forget(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.calls, id)
}

// end keeps the reply to a call, and returns the link that it goes over.
func (a *answers) end(p *wire.Packet) *link {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.calls[p.ID]
	c.reply = p
	a.line = append(a.line, p.ID)
	a.bytes += replySize(p)
	for len(a.line) > maxAnswers || a.bytes > maxAnswerBytes {
		a.drop(0)
	}
	return c.link
}

// drop removes the i-th answered call.
func (a *answers) drop(i int) {
	id := a.line[i]
	a.bytes -= replySize(a.calls[id].reply)
	delete(a.calls, id)
	a.line = slices.Delete(a.line, i, i+1)
}

func replySize(p *wire.Packet) int {
	return len(p.Payload) + len(p.ContentType) + len(p.Err.Code) + len(p.Err.Reason)
}
