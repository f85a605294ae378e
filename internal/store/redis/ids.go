package redis

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/message"
)

// IDs is the message.Ranges of a node of a cluster. Each life of a node has a number that no other life has, and Redis keeps up to where
// the message IDs of a number are reserved. A life begins there or at the place of the clock, whichever is later: so it passes what Redis
// has forgotten in a failover, as long as nobody gives out more IDs than the clock has places. While Redis is away a node goes on behind what
// it has reserved, for a while: the number stays its own for longer than that.
type IDs struct {
	// Static after construction.
	link       *Link
	key        string
	owner      string
	renumbered func()
	cancel     context.CancelFunc
	done       chan struct{}
	doubt      chan struct{} // Redis may have given the number to another

	mu     sync.Mutex
	number int
	next   uint64    // the position behind what is reserved
	told   time.Time // when Redis said the last time that the number is this life's
	taken  bool      // the number is another's
}

const (
	// perReserve is how many IDs are reserved at once: what the clock passes in 4 seconds. So lives in quick succession do not run ahead of it.
	perReserve = 1 << 20

	// A number is a life's until it was not seen for numberKept. Each seenEvery it is seen; without that it reserves IDs for ownedFor.
	numberKept = time.Hour
	seenEvery  = time.Minute
	ownedFor   = 30 * time.Minute

	idsTimeout = 5 * time.Second
)

var (
	errNumberTaken = errors.New("another node has the number of this one")
	errNoNumber    = errors.New("all node numbers are in use by nodes that were seen in the last hour")
)

// idsScript gives a life a number, or reserves IDs of the one that it has. The value of a number is "OWNER SEEN POSITION". A life that has none gets one
// that nobody has, or else the one that was not seen for the longest time if that is longer than kept, or else that of an earlier life of the same name.
// Of those that nobody has it is the first behind first, so that after a failover that has forgotten who has which, two nodes hardly get the same.
// The script returns the number and the position from which on IDs are reserved; -1 if the number is another's, and -2 if there is none.
//
// KEYS: numbers. ARGV: owner, number or -1, first, how many IDs, the position at least, that of the node's clock, kept in us.
var idsScript = rueidis.NewLuaScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local owner, mine, first, count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local least, clock, kept = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local function get(n)
	local v = redis.call('HGET', KEYS[1], n)
	if not v then return nil end
	local o, seen, position = string.match(v, '^(%S+) (%d+) (%d+)$')
	return {n = n, owner = o, seen = tonumber(seen), position = tonumber(position)}
end
local function name(o) return string.match(o, '^(.*)/') end
local has
if mine >= 0 then
	has = get(mine)
	if has and has.owner ~= owner then return {-1, '0'} end
else
	local own, free, oldest, before
	for i = 0, 63 do
		local n = (first + i) % 64
		local v = get(n)
		if not v then
			free = free or {n = n, position = 0}
		elseif v.owner == owner then
			own = v
		elseif now - v.seen > kept then
			if not oldest or v.seen < oldest.seen then oldest = v end
		elseif name(v.owner) == name(owner) then
			if not before or v.seen < before.seen then before = v end
		end
	end
	has = own or free or oldest or before
	if not has then return {-2, '0'} end
	mine = has.n
end
local known = math.floor((now / 1000 - ` + strconv.FormatInt(idsEpoch, 10) + `) * 256)
local ahead = 3600000 * 256
local from = math.max(least, known, math.min(clock, known + ahead))
if has then from = math.max(from, has.position) end
redis.call('HSET', KEYS[1], mine, string.format('%s %.0f %.0f', owner, now, from + count))
return {mine, string.format('%.0f', from)}
`)

// idsEpoch is where message.Position begins, in Unix milliseconds.
const idsEpoch = 1767225600000

// OpenIDs gives this life of a node a number. Owner is "name/life". renumbered is called, from a goroutine of its own, when the number turns out
// to be another's, because a failover has forgotten that it is this life's: the caller begins anew with the IDs, which have another number then.
func OpenIDs(ctx context.Context, link *Link, prefix, owner string, renumbered func()) (*IDs, error) {
	if owner == "" || strings.ContainsAny(owner, " \n\t\v\f\r") {
		return nil, fmt.Errorf("%q is no name of a node: it is empty or has spaces", owner)
	}
	i := &IDs{link: link, key: prefix + "{nodes}:numbers", owner: owner, renumbered: renumbered, done: make(chan struct{}), doubt: make(chan struct{}, 1)}
	number, from, err := i.ask(ctx, -1, 0, 0)
	if err != nil {
		return nil, err
	}
	i.number, i.next, i.told = number, from, time.Now()
	var seen context.Context
	seen, i.cancel = context.WithCancel(context.Background())
	link.OnLoss(i.check)
	go i.beSeen(seen)
	return i, nil
}

// Number returns the node's number: 0 to 63.
func (i *IDs) Number() uint16 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return uint16(i.number)
}

// Close lets the number go when it was not seen for an hour.
func (i *IDs) Close() {
	i.cancel()
	<-i.done
}

// Reserve implements message.Ranges. It blocks until Redis has answered, for 5 s at most.
func (i *IDs) Reserve() (message.Range, error) {
	ctx, cancel := context.WithTimeout(context.Background(), idsTimeout)
	defer cancel()
	i.mu.Lock()
	number, least := i.number, i.next
	i.mu.Unlock()
	_, from, err := i.ask(ctx, number, least, perReserve)
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.number != number:
		return message.Range{}, errNumberTaken
	case errors.Is(err, errNumberTaken):
		i.taken = true
		i.check()
		return message.Range{}, err
	case err == nil:
		i.told = time.Now()
	case i.taken || time.Since(i.told) > ownedFor:
		return message.Range{}, err
	default:
		from = least
	}
	r, next, err := message.Lane(number).At(from)
	if err != nil {
		return message.Range{}, err
	}
	if r.End-r.First > perReserve {
		r.End, next = r.First+perReserve, from+perReserve
	}
	i.next = next
	return r, nil
}

// check has beSeen ask at once whether the number is still this life's.
func (i *IDs) check() {
	select {
	case i.doubt <- struct{}{}:
	default:
	}
}

// beSeen keeps the number.
func (i *IDs) beSeen(ctx context.Context) {
	defer close(i.done)
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.doubt:
		case <-tick.C:
		}
		if i.seen(ctx) {
			i.renumbered()
		}
	}
}

// seen tells Redis that the number is in use, and up to where. It reports whether there is a new one, because it was another's.
func (i *IDs) seen(ctx context.Context) (anew bool) {
	ctx, cancel := context.WithTimeout(ctx, idsTimeout)
	defer cancel()
	i.mu.Lock()
	number, next := i.number, i.next
	i.mu.Unlock()
	_, _, err := i.ask(ctx, number, next, 0)
	if errors.Is(err, errNumberTaken) {
		anew = true
		number, next, err = i.ask(ctx, -1, 0, 0)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if err != nil {
		i.taken = i.taken || anew
		i.link.Look()
		return false
	}
	i.told = time.Now()
	if anew {
		i.number, i.next, i.taken = number, next, false
	}
	return anew
}

// ask calls the script. number is -1 for a new one.
func (i *IDs) ask(ctx context.Context, number int, least, count uint64) (int, uint64, error) {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(i.owner[:max(0, strings.LastIndexByte(i.owner, '/'))]))
	arguments := []string{i.owner, strconv.Itoa(number), strconv.Itoa(int(hash.Sum32() % (message.MaxNode + 1)))}
	for _, n := range []uint64{count, least, message.Position(time.Now()), uint64(numberKept.Microseconds())} {
		arguments = append(arguments, strconv.FormatUint(n, 10))
	}
	answer, err := idsScript.Exec(ctx, i.link.client, []string{i.key}, arguments).ToArray()
	if err != nil {
		return 0, 0, fmt.Errorf("message ids of the cluster: %w", err)
	}
	if len(answer) != 2 {
		return 0, 0, fmt.Errorf("message ids of the cluster: redis answers %v", answer)
	}
	got, err := answer[0].AsInt64()
	switch {
	case err != nil:
		return 0, 0, err
	case got == -1:
		return 0, 0, errNumberTaken
	case got == -2:
		return 0, 0, errNoNumber
	}
	from, err := answer[1].AsUint64()
	return int(got), from, err
}
