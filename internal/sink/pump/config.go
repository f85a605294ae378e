package pump

import (
	"cmp"
	"fmt"
	"time"
)

// Config is the part of a sink's section that says how its messages are pushed.
type Config struct {
	From  string `yaml:"from" help:"where a new sink begins: oldest, with what the stream has, or newest, with what comes"`
	Lanes int    `yaml:"lanes" help:"batches that may be under way at a time; the records of one key are always in one lane, in order"`
	Batch Batch  `yaml:"batch" help:"how many messages go at once"`
	Ahead Ahead  `yaml:"ahead" help:"how far the sink reads ahead of the oldest message that is not confirmed: as much is in memory, and may come twice after a kill"`
	Retry Retry  `yaml:"retry" help:"pauses between attempts while the other side fails: random, up to a bound that doubles from first to most"`
}

// Batch bounds a batch.
type Batch struct {
	Messages int           `yaml:"messages" help:"messages of a batch"`
	Bytes    int           `yaml:"bytes" unit:"bytes" help:"bytes of a batch, unless one message alone has more"`
	Wait     time.Duration `yaml:"wait" help:"how long the first message of a batch waits for others"`
}

// Ahead bounds what is in memory of a sink, and of its replay.
type Ahead struct {
	Messages int `yaml:"messages" help:"messages"`
	Bytes    int `yaml:"bytes" unit:"bytes" help:"bytes"`
}

// Retry says how long a lane pauses after a failure.
type Retry struct {
	First time.Duration `yaml:"first" help:"bound of the first pause"`
	Most  time.Duration `yaml:"most" help:"bound of all pauses"`
}

// The values of Config.From.
const (
	Oldest = "oldest"
	Newest = "newest"
)

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.From = cmp.Or(c.From, Oldest)
	c.Lanes = cmp.Or(c.Lanes, 16)
	c.Batch.Messages = cmp.Or(c.Batch.Messages, 500)
	c.Batch.Bytes = cmp.Or(c.Batch.Bytes, 1<<20)
	c.Batch.Wait = cmp.Or(c.Batch.Wait, 5*time.Millisecond)
	c.Ahead.Messages = cmp.Or(c.Ahead.Messages, max(20_000, c.Batch.Messages))
	c.Ahead.Bytes = cmp.Or(c.Ahead.Bytes, max(16<<20, c.Batch.Bytes))
	c.Retry.First = cmp.Or(c.Retry.First, 100*time.Millisecond)
	c.Retry.Most = cmp.Or(c.Retry.Most, max(10*time.Second, c.Retry.First))
	return c
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	if c.From != Oldest && c.From != Newest {
		return fmt.Errorf("from: want %s or %s, not %q", Oldest, Newest, c.From)
	}
	for _, e := range []struct {
		key                string
		value, least, most int
	}{
		{"lanes", c.Lanes, 1, 256},
		{"batch.messages", c.Batch.Messages, 1, 100_000},
		{"batch.bytes", c.Batch.Bytes, 1 << 10, 64 << 20},
		{"ahead.messages", c.Ahead.Messages, c.Batch.Messages, 10_000_000},
		{"ahead.bytes", c.Ahead.Bytes, c.Batch.Bytes, 1 << 30},
	} {
		if e.value < e.least || e.value > e.most {
			return fmt.Errorf("%s: want %d to %d, not %d", e.key, e.least, e.most, e.value)
		}
	}
	for _, e := range []struct {
		key                string
		value, least, most time.Duration
	}{
		{"batch.wait", c.Batch.Wait, time.Microsecond, time.Minute},
		{"retry.first", c.Retry.First, time.Millisecond, time.Minute},
		{"retry.most", c.Retry.Most, c.Retry.First, time.Hour},
	} {
		if e.value < e.least || e.value > e.most {
			return fmt.Errorf("%s: want %v to %v, not %v", e.key, e.least, e.most, e.value)
		}
	}
	return nil
}
