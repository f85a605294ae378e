package stream

import (
	"errors"
	"fmt"
	"time"

	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/topic"
)

// What a stream does when it has max_bytes, and when it answers a publication.
const (
	DropOldest = "drop_oldest"
	Refuse     = "refuse"

	Stored    = "stored"
	Delivered = "delivered"
)

// Config configures one stream.
type Config struct {
	Filters  []string      `yaml:"filters" help:"the stream has the messages whose topics match one of these"`
	MaxBytes int           `yaml:"max_bytes" unit:"bytes" help:"disk space of the stream, at least 16MiB"`
	MaxAge   time.Duration `yaml:"max_age" help:"how long the stream has a message; left out, until it is full"`
	Ack      string        `yaml:"ack" help:"when a publication of QoS 1 or 2 is answered: stored, when it is on disk, or delivered, when all sinks of the stream are done with it, too; until then it is not dropped"`
	WhenFull string        `yaml:"when_full" help:"what happens at max_bytes: drop_oldest, or refuse, which refuses messages until every consumer has acknowledged the oldest ones"`
}

var _ setting.Section[Config] = Config{}

const (
	leastBytes = 16 << 20
	leastAge   = time.Minute
	mostLevels = 128 // of a filter: topics have fewer, see sessions.topics
)

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.WhenFull == "" {
		c.WhenFull = DropOldest
	}
	if c.Ack == "" {
		c.Ack = Stored
	}
	return c
}

// Validate returns what is wrong with c, after WithDefaults.
func (c Config) Validate() error {
	var errs []error
	if len(c.Filters) == 0 {
		errs = append(errs, errors.New("filters: want at least one filter such as device/+/telemetry"))
	}
	for _, f := range c.Filters {
		if topic.IsShared(f) {
			errs = append(errs, fmt.Errorf("filters: %q is a shared subscription, which a stream cannot have", f))
		} else if err := topic.ValidateFilter(f, topic.Limits{Depth: mostLevels, Length: 1 << 16}); err != nil {
			errs = append(errs, fmt.Errorf("filters: %q: %w", f, err))
		}
	}
	if c.MaxBytes < leastBytes {
		errs = append(errs, errors.New("max_bytes: want 16MiB or more"))
	}
	if c.MaxAge != 0 && c.MaxAge < leastAge {
		errs = append(errs, errors.New("max_age: want 1m or more"))
	}
	if c.WhenFull != DropOldest && c.WhenFull != Refuse {
		errs = append(errs, fmt.Errorf("when_full: want %s or %s, not %q", DropOldest, Refuse, c.WhenFull))
	}
	if c.Ack != Stored && c.Ack != Delivered {
		errs = append(errs, fmt.Errorf("ack: want %s or %s, not %q", Stored, Delivered, c.Ack))
	}
	return errors.Join(errs...)
}

const (
	leastPending   = 1 << 20
	commonSegment  = 64 << 20
	mostSegments   = 512 // each is an open file
	leastSegments  = 4
	usualSegments  = 32
	segmentsPiece  = 4 << 10 // segments have a multiple of this
	recordOverhead = entryOverhead + 64
)

// sizes returns the segment size of a stream's journal and the bytes that may wait for a sync, for messages whose records have up
// to maxRecord bytes.
func (c Config) sizes(maxRecord int) (segment int64, pending int) {
	pending = max(leastPending, maxRecord+recordOverhead)
	size := max(min(c.MaxBytes/usualSegments, commonSegment), c.MaxBytes/mostSegments, 2*pending)
	return int64(size+segmentsPiece-1) / segmentsPiece * segmentsPiece, pending
}

// LeastBytes returns the smallest max_bytes of a stream of messages whose records have up to maxRecord bytes, in whole MiB.
func LeastBytes(maxRecord int) int {
	segment, _ := Config{}.sizes(maxRecord)
	return (leastSegments*int(segment) + 1<<20 - 1) >> 20 << 20
}
