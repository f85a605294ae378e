package revoked

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/auth"
)

// forgetAfter is how long a revocation stays in the set when it is over: the clocks of nodes may differ.
const forgetAfter = time.Hour

// redisTable is the set in Redis.
type redisTable struct {
	client rueidis.Client
	key    string
}

// InRedis returns the set of a cluster, whose keys begin with prefix.
func InRedis(client rueidis.Client, prefix string) Table {
	return &redisTable{client, prefix + "{revoked}"}
}

// set changes the set and its number at once. KEYS: the set, the number. ARGV: the member, its time, or an empty text to lift it; the time before which
// members are forgotten.
var set = rueidis.NewLuaScript(`
if ARGV[2] ~= '' then
  redis.call('ZREM', KEYS[1], '-' .. ARGV[1])
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
else
  local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
  if score then
    redis.call('ZREM', KEYS[1], ARGV[1])
    redis.call('ZADD', KEYS[1], score, '-' .. ARGV[1])
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
local now = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
redis.call('SET', KEYS[2], string.format('%.0f', math.max(last + 1, now[1] * 1000000 + now[2])))
return 1`)

// Set implements Table.
func (t *redisTable) Set(ctx context.Context, b auth.Bearer, until time.Time) error {
	now, score := time.Now(), ""
	if until.After(now) {
		score = milliseconds(until)
	}
	return set.Exec(ctx, t.client, []string{t.key, t.key + ":v"}, []string{member(b), score, milliseconds(now.Add(-forgetAfter))}).Error()
}

// Version implements Table.
func (t *redisTable) Version(ctx context.Context) (uint64, error) {
	n, err := t.client.Do(ctx, t.client.B().Get().Key(t.key+":v").Build()).AsUint64()
	if rueidis.IsRedisNil(err) {
		return 0, nil
	}
	return n, err
}

// Page implements Table.
func (t *redisTable) Page(ctx context.Context, from, limit int) ([]Entry, error) {
	list, err := t.client.Do(ctx, t.client.B().Zrange().Key(t.key).Min(strconv.Itoa(from)).Max(strconv.Itoa(from+limit-1)).Withscores().Build()).AsZScores()
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(list)) // one that is no member's is the zero value, which nobody is
	for i, z := range list {
		name, lifted := strings.CutPrefix(z.Member, "-")
		entries[i] = Entry{bearer(name), time.UnixMilli(int64(z.Score)), lifted}
	}
	return entries, nil
}

func milliseconds(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// member returns the text of a bearer in the set.
func member(b auth.Bearer) string {
	if b.Device != "" {
		return "d" + b.Device
	}
	return "c" + b.Credential
}

func bearer(member string) auth.Bearer {
	switch {
	case member == "":
	case member[0] == 'd':
		return auth.Bearer{Device: member[1:]}
	case member[0] == 'c':
		return auth.Bearer{Credential: member[1:]}
	}
	return auth.Bearer{}
}
