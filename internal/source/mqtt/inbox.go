package mqtt

import (
	"log/slog"
	"sync"

	"github.com/longline/longline/internal/bridge"
	wire "github.com/longline/longline/internal/wire/mqtt"
)

// inbox is where a connection puts what it reads. It has room for all that the broker may send in MQTT 5 without an acknowledgement. What else
// comes waits, and the connection is not read meanwhile; publications of QoS 0 do not wait.
type inbox struct {
	line  chan *publication
	most  int // publications of QoS 0 find no room when so many are there
	drops *drops

	mu    sync.Mutex
	bytes int           // of what is in line
	room  chan struct{} // closed and made again when there are fewer
}

// mostBytes bounds the memory of what is in an inbox; a publication that is alone may have more.
const mostBytes = 16 << 20

func newInbox(unanswered int, drops *drops) *inbox {
	return &inbox{line: make(chan *publication, 2*unanswered), most: unanswered, drops: drops, room: make(chan struct{})}
}

// put is bridge.Session.OnPublish.
func (in *inbox) put(c *bridge.Conn, packet *wire.Packet) {
	if packet.QoS == 0 && (len(in.line) >= in.most || in.full(packet)) {
		in.drops[noRoom].Add()
		return
	}
	in.add(c, copied(packet))
}

// putOversized is bridge.Session.OnOversized.
func (in *inbox) putOversized(c *bridge.Conn, o wire.Oversized) {
	in.add(c, &publication{id: o.ID, qos: o.QoS, oversized: true})
}

func (in *inbox) add(c *bridge.Conn, p *publication) {
	if !in.reserve(c, p.size()) {
		return // the connection has ended: the broker sends it again
	}
	select {
	case in.line <- p:
	case <-c.Done():
	}
}

func (in *inbox) full(packet *wire.Packet) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.bytes > 0 && in.bytes+len(packet.Payload) > mostBytes
}

// reserve waits until there is room for so many bytes; false if the connection ends.
func (in *inbox) reserve(c *bridge.Conn, bytes int) bool {
	for {
		in.mu.Lock()
		fits, room := in.bytes == 0 || in.bytes+bytes <= mostBytes, in.room
		if fits {
			in.bytes += bytes
		}
		in.mu.Unlock()
		if fits {
			return true
		}
		select {
		case <-room:
		case <-c.Done():
			return false
		}
	}
}

// took frees the room of a publication that was taken from the line.
func (in *inbox) took(p *publication) {
	in.mu.Lock()
	in.bytes -= p.size()
	close(in.room)
	in.room = make(chan struct{})
	in.mu.Unlock()
}

// drop is why a publication is dropped.
type drop int

const (
	noRoom    drop = iota // QoS 0, and too many wait
	oversized             // larger than max_packet
	unmatched             // of a subscription that the session has and the configuration has not
	returned              // it has left this gateway before
	tooFar                // it was at too many brokers
	reasons
)

var dropNames = [reasons]string{noRoom: "no_room", oversized: "oversized", unmatched: "unmatched", returned: "returned", tooFar: "too_far"}

// drops counts what is dropped.
type drops [reasons]*bridge.Tally

func newDrops(log *slog.Logger) *drops {
	tally := func(level slog.Level, text string) *bridge.Tally { return bridge.NewTally(log, level, text) }
	return &drops{
		noRoom:    tally(slog.LevelWarn, "publications of QoS 0 found no room"),
		oversized: tally(slog.LevelWarn, "publications were larger than max_packet"),
		unmatched: tally(slog.LevelWarn, "publications came that no line of topics is for: the broker has a subscription of an older configuration. Another client_id ends that"),
		returned:  tally(slog.LevelDebug, "publications were left out, because they have left this gateway before"),
		tooFar:    tally(slog.LevelWarn, "publications were left out, because they were at too many brokers and gateways: there is a circle"),
	}
}
