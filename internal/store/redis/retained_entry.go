package redis

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
)

// The retained messages are four keys in one slot: a hash from topics to what is retained, one from topics to the large messages, whose heads
// alone are in the first, the log of all changes, and the topics of messages that expire by when they do.
//
// An entry of the log has an ID that rises with Redis' time in us, and names the entry before it, so that a reader sees what it has missed: because it is
// far behind, or because a failover has forgotten what it has read. A change has a place, which is the ID of its entry. One
// that is written again after a failover keeps its place, and has no effect if the topic has a later one. So the last change of a topic is the same for all
// nodes, in whatever order they write again what they know.

// entry is a change as it is in the log.
type entry struct {
	topic  string
	origin string // the node that made it, "name/life"
	number uint64 // store.Change.Number at the origin
	place  uint64 // 0 if it is not written yet
	only   uint64 // a removal counts only if the change of this place is still the last; 0: it counts in any case
	at     uint64 // store.Change.At
	expiry int64  // in Unix milliseconds of Redis' clock, 0 for never
	size   int    // of the whole message, if record is its head
	record string // empty in a removal
	body   string // the record of the whole message, if record is its head; empty where it is not known
}

func (e *entry) bytes() int { return len(e.topic) + len(e.record) + len(e.body) + entryOverhead }

// entryOverhead is what an entry costs besides its texts, about.
const entryOverhead = 200

// The bounds of the log, and of what is done at once.
const (
	logEntries  = 8192 // a node that is more behind reads all that is retained
	writeAtOnce = 128
	bytesAtOnce = 256 << 10
	readAtOnce  = 256
)

//go:embed retained.lua
var retainedText string

var (
	retainScript = rueidis.NewLuaScript(retainedText)

	// raiseScript adds an entry without a topic if the log does not reach to a place: what comes behind is behind the place. It returns
	// the last place before. KEYS: log. ARGV: place.
	raiseScript = rueidis.NewLuaScript(`
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
last = last and string.match(last[1], '^%d+') or '0'
if tonumber(last) < tonumber(ARGV[1]) then
	redis.call('XADD', KEYS[1], ARGV[1] .. '-0', 'b', last)
end
return last`)

	// missingScript returns which of some topics a hash does not have. KEYS: hash. ARGV: topics.
	missingScript = rueidis.NewLuaScriptReadOnly(`
local missing = {}
for _, topic in ipairs(ARGV) do
	if redis.call('HEXISTS', KEYS[1], topic) == 0 then missing[#missing + 1] = topic end
end
return missing`)
)

// newEntry returns what is written of a change of this node.
func newEntry(c *store.Change, origin string, inMemory int, link clock) entry {
	e := entry{topic: c.Topic, origin: origin, number: c.Number, only: c.Place, at: c.At}
	if c.Message == nil {
		return e
	}
	m := c.Message
	if m.Expiry != 0 {
		m = m.With(m.Delivery)
		m.Expiry = link.ToRedis(m.Expiry)
		e.expiry = m.Expiry
	}
	record := string(message.AppendRecord(nil, m))
	if m.Size()-len(m.Topic) <= inMemory {
		e.record = record
		return e
	}
	e.size, e.body = m.Size(), record
	e.record = string(message.AppendRecord(nil, m.Head()))
	return e
}

// arguments appends e for retainScript.
func (e *entry) arguments(to []string) []string {
	return append(to, e.topic, e.origin, strconv.FormatUint(e.number, 10), strconv.FormatUint(e.place, 10), strconv.FormatUint(e.only, 10),
		strconv.FormatInt(e.expiry, 10), strconv.Itoa(e.size), e.record, e.body, strconv.FormatUint(e.at, 10))
}

// readPlace returns the ID of an entry of the log and that of the one before, 0 if the entry does not tell that.
func readPlace(x *rueidis.XRangeEntry) (id, before uint64) {
	n := numbers{}
	first, _, _ := strings.Cut(x.ID, "-")
	return n.parse(first), n.parse(x.FieldValues["b"])
}

// readEntry returns an entry of the log. One that only raises the log has no topic.
func readEntry(x *rueidis.XRangeEntry) (e entry, err error) {
	f := x.FieldValues
	n := numbers{}
	n.parse(f["b"])
	if e.topic = f["t"]; e.topic != "" {
		e.origin, e.record = f["o"], f["r"]
		e.number, e.place, e.at = n.parse(f["n"]), n.parse(f["p"]), n.parse(f["a"])
		e.expiry, e.size = n.signed(f["e"]), int(n.signed(f["s"]))
	}
	if n.err != nil {
		err = fmt.Errorf("entry %s of the log of retained messages: %w", x.ID, n.err)
	}
	return e, err
}

// readKept returns an entry of what is read from the hash of a topic: "PLACE EXPIRY SIZE RECORD", or the place alone if nothing is retained any more.
func readKept(topic, value string) (e entry, err error) {
	e.topic = topic
	place, rest, some := strings.Cut(value, " ")
	n := numbers{}
	e.place = n.parse(place)
	if some {
		fields := strings.SplitN(rest, " ", 3)
		if len(fields) != 3 {
			return e, fmt.Errorf("the retained message of %q: it has %d fields", topic, len(fields))
		}
		e.expiry, e.size, e.record = n.signed(fields[0]), int(n.signed(fields[1])), fields[2]
	}
	if n.err != nil {
		err = fmt.Errorf("the retained message of %q: %w", topic, n.err)
	}
	return e, err
}

// numbers parses numbers and keeps the first error.
type numbers struct{ err error }

func (n *numbers) parse(text string) uint64 {
	x, err := strconv.ParseUint(text, 10, 64)
	if err != nil && n.err == nil {
		n.err = err
	}
	return x
}

// signed parses a number that is not negative, and that fits an int64.
func (n *numbers) signed(text string) int64 {
	x, err := strconv.ParseUint(text, 10, 63)
	if err != nil && n.err == nil {
		n.err = err
	}
	return int64(x)
}

// change returns e for the store of a node.
func (e *entry) change(self string, link clock) (store.Change, error) {
	c := store.Change{Topic: e.topic, Size: e.size, Place: e.place, At: e.at}
	if e.origin == self {
		c.Number, c.At = e.number, 0
	}
	if e.record == "" {
		return c, nil
	}
	m, err := readMessage(e.record, link)
	if err != nil {
		return c, fmt.Errorf("the retained message of %q: %w", e.topic, err)
	}
	if c.Size > 0 && c.Size < m.Size() {
		return c, fmt.Errorf("the retained message of %q is larger than it says", e.topic)
	}
	c.Message = m
	return c, nil
}
