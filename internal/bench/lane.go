package bench

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// lane is one loop's share of a client. Owned by the loop.
type lane struct {
	// Static after construction.
	client   *Client
	loop     *reactor.Loop
	maxDials int

	conns   []conn
	dialed  int // conns[dialed:] are not dialed yet
	opening int
	opens   *hdrhistogram.Histogram // how long opening took
	load    load                    // nil between loads

	messages uint64      // received
	packet   wire.Packet // packets are decoded into it
	mqtt     mqtt.Packet // the same, for MQTT
	scratch  []byte      // packets are encoded into it
}

// load handles the messages of a lane's connections.
type load interface {
	// received handles a message, which is borrowed.
	received(c *conn, payload []byte) error
}

func newLane(client *Client, loop *reactor.Loop, conns, maxDials int) *lane {
	l := &lane{client: client, loop: loop, maxDials: maxDials, conns: make([]conn, conns), opens: newLatency()}
	for i := range l.conns {
		l.conns[i] = conn{lane: l, number: uint32(i)}
	}
	return l
}

// dialMore dials connections up to the limit of dials under way.
func (l *lane) dialMore() {
	for l.opening < l.maxDials && l.dialed < len(l.conns) {
		c := &l.conns[l.dialed]
		l.dialed++
		l.opening++
		c.begin()
		if err := l.client.target.dial(l.loop, c); err != nil {
			l.client.fail(err)
			return
		}
	}
}

// opened is called when a connection is open.
func (l *lane) opened(took time.Duration) {
	record(l.opens, took)
	l.opening--
	l.client.opened()
	l.dialMore()
}

// begin sets the lane's load. Connections start to count their messages again.
func (l *lane) begin(x load) {
	l.load = x
	for i := range l.conns {
		l.conns[i].sent, l.conns[i].got = 0, 0
	}
}

func (l *lane) received(c *conn, payload []byte) error {
	l.messages++
	if l.load == nil {
		return fmt.Errorf("a message of %d bytes that was not asked for", len(payload))
	}
	return l.load.received(c, payload)
}
