package fleet

import (
	"container/heap"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
)

// lane is what a loop keeps for its clients. As a reactor.Task it is the lane's turn, which the
// fleet's ticker posts while the lane is busy. Owned by the loop, unless a heading says otherwise.
type lane struct {
	// Static after construction.
	fleet    *Fleet
	loop     *reactor.Loop
	maxDials int

	// Safe from any goroutine.
	posted atomic.Bool // a turn is posted and has not begun
	busy   atomic.Bool // there are clients to dial, or messages to send, so the ticker posts turns

	clients  []Client // every n-th device, where n is the number of lanes
	fresh    int      // clients[fresh:] were not dialed yet
	untried  int      // clients whose first attempt has not ended
	alive    int      // clients that have not given up
	dialing  int      // clients between dial and hello
	away     waiting
	dials    bucket
	load     load
	stopping bool

	heartbeat  time.Duration // as the gateway announced last
	maxPayload int           // the same, in bytes; 0 means no bound
	packet     wire.Packet   // packets are decoded into it
	outgoing   wire.Packet   // the same for publications
	scratch    []byte        // encoded into
	outboxes   []*outbox     // empty ones for the next to borrow
	tally      Tally
	greeted    time.Duration           // when the last hello arrived, on the fleet's clock
	received   time.Duration           // when the last message arrived
	opens      *hdrhistogram.Histogram // from dial to hello, microseconds
	latency    *hdrhistogram.Histogram // of acknowledgements, microseconds
	reasons    map[string]uint64
	lastReason string
}

const (
	maxLatency      = int64(time.Hour / time.Microsecond)
	latencyDigits   = 3
	keptOutboxes    = 1024
	maxReasons      = 64 // reasons that are counted separately
	defaultLiveness = 30 * time.Second
)

func newLane(f *Fleet, l *reactor.Loop, lanes, devices int) *lane {
	n := (devices - l.Index() + lanes - 1) / lanes
	x := &lane{
		fleet:     f,
		loop:      l,
		maxDials:  max(1, f.config.MaxDials/lanes),
		clients:   make([]Client, n),
		untried:   n,
		alive:     n,
		dials:     bucket{rate: float64(f.config.ConnectRate) / float64(lanes)},
		heartbeat: defaultLiveness,
		opens:     newLatency(),
		latency:   newLatency(),
		reasons:   make(map[string]uint64),
	}
	for i := range x.clients {
		x.clients[i] = Client{lane: x, number: uint32(i*lanes + l.Index())}
	}
	x.busy.Store(true)
	return x
}

// Run implements reactor.Task.
func (l *lane) Run(*reactor.Loop) {
	l.posted.Store(false)
	if l.stopping {
		return
	}
	l.connect()
	l.load.run(l)
	l.busy.Store(l.fresh < len(l.clients) || len(l.away) > 0 || l.load.rate > 0)
}

// connect dials the next clients, as far as the rate and the number of dials under way
// allow.
func (l *lane) connect() {
	now := l.fleet.clock()
	l.dials.fill(now)
	for !l.stopping && l.dialing < l.maxDials && l.dials.level >= 1 {
		c := l.nextToDial(now)
		if c == nil {
			return
		}
		l.dials.level--
		c.dial()
	}
}

// nextToDial returns the next client to dial. It prefers clients that were connected before.
func (l *lane) nextToDial(now time.Duration) *Client {
	if len(l.away) > 0 && l.away[0].until <= now {
		return heap.Pop(&l.away).(absence).client
	}
	if l.fresh < len(l.clients) {
		l.fresh++
		return &l.clients[l.fresh-1]
	}
	return nil
}

// online is called after a hello.
func (l *lane) online(c *Client) {
	l.tally.Connected++
	if c.met {
		l.tally.Reconnects++
	}
	c.phase, c.met, c.asked = online, true, 0
	l.greeted = l.fleet.clock()
	c.since = uint32(l.greeted / time.Second)
}

// offline is called before every end of a connection.
func (l *lane) offline(c *Client) {
	if c.phase != online {
		return
	}
	l.tally.Connected--
	held := l.fleet.clock() - time.Duration(c.since)*time.Second
	if held >= l.fleet.config.Reconnect.Max {
		c.tries = 0
	}
}

// dialed notes the end of c's attempt to connect, if it made one, and makes room for the
// next.
func (l *lane) dialed(c *Client) {
	if c.opening == nil {
		return
	}
	c.opening = nil
	l.dialing--
	if c.tried {
		return
	}
	c.tried = true
	if l.untried--; l.untried == 0 {
		l.fleet.laneTried()
	}
}

// comeBack puts c in line to be dialed after its backoff, or makes it give up.
func (l *lane) comeBack(c *Client) {
	if l.stopping {
		return
	}
	wait, ok := l.fleet.config.Reconnect.Wait(int(c.tries), c.asked, rand.Int64N)
	if !ok {
		c.giveUp()
		l.tally.GaveUp++
		if l.alive--; l.alive == 0 {
			l.fleet.laneDied()
		}
		return
	}
	c.tries = uint8(min(int(c.tries)+1, 255))
	c.asked = 0
	heap.Push(&l.away, absence{l.fleet.clock() + wait, c})
	l.busy.Store(true)
}

// stop closes every connection.
func (l *lane) stop() {
	l.stopping = true
	for i := range l.clients {
		switch c := &l.clients[i]; c.phase {
		case dialing, greeting:
			c.phase = leaving
			c.conn.Close()
		case online:
			c.phase = leaving
			c.end(1000, "")
		}
	}
}

// note counts the reason of a failure.
func (l *lane) note(reason string) {
	if _, known := l.reasons[reason]; !known && len(l.reasons) >= maxReasons {
		reason = "other reasons"
	}
	l.reasons[reason]++
	l.lastReason = reason
}

// settled is called when a row was acknowledged, refused for good, or given up.
func (l *lane) settled() {
	if l.fleet.slots != nil {
		<-l.fleet.slots
	}
}

func newLatency() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency, latencyDigits) }

// addLatency adds a latency.
func addLatency(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(1, d.Microseconds()), maxLatency)) // in range
}

func (l *lane) borrowOutbox() *outbox {
	if n := len(l.outboxes); n > 0 {
		o := l.outboxes[n-1]
		l.outboxes = l.outboxes[:n-1]
		return o
	}
	return new(outbox)
}

// returnOutbox keeps an empty outbox for reuse. It leaves one that has grown large to the garbage
// collector.
func (l *lane) returnOutbox(o *outbox) {
	if len(l.outboxes) < keptOutboxes && cap(o.line) <= 64 {
		clear(o.line)
		*o = outbox{line: o.line[:0]}
		l.outboxes = append(l.outboxes, o)
	}
}
