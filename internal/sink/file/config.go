// Package file is a target of sinks: a file to which messages are appended, for a first try and for archives. A message is confirmed once it is on
// disk. When the file is large or old enough it is set aside, compressed, and the next one begins.
package file

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/longline/longline/internal/setting"
)

// Config configures the target.
type Config struct {
	Path        string `yaml:"path" help:"the file; its directory is made if it is missing. Part of a message at its end, which a kill may leave, goes to the file PATH.cut"`
	Content     string `yaml:"content" help:"message: a line of JSON with the payload and what is known of it; payload: the payload and a line break; delimited: the payload behind its length, as protobuf's delimited messages"`
	Rotate      Rotate `yaml:"rotate" help:"when the file is set aside, under a name with the time"`
	Compression string `yaml:"compression" help:"of files that are set aside: gzip, or none"`
}

// Rotate says when a file is set aside, and for how long.
type Rotate struct {
	Bytes int           `yaml:"bytes" unit:"bytes" help:"when it has this size"`
	Every time.Duration `yaml:"every" help:"with the first message of another such period, in UTC, such as 24h; left out, its age does not matter"`
	Keep  int           `yaml:"keep" help:"how many files that were set aside are kept; left out, all"`
}

// The values of Config.Content and Config.Compression.
const (
	Message   = "message"
	Payload   = "payload"
	Delimited = "delimited"

	Gzip = "gzip"
	None = "none"
)

var _ setting.Section[Config] = Config{}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Content = cmp.Or(c.Content, Message)
	c.Rotate.Bytes = cmp.Or(c.Rotate.Bytes, 256<<20)
	c.Compression = cmp.Or(c.Compression, Gzip)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. The error begins with the key.
func (c Config) Validate() error {
	switch r := c.Rotate; {
	case c.Path == "" || filepath.Base(c.Path) == "." || filepath.Base(c.Path) == "/":
		return fmt.Errorf("path: want a file such as out.jsonl, not %q", c.Path)
	case !slices.Contains([]string{Message, Payload, Delimited}, c.Content):
		return fmt.Errorf("content: want %s, %s or %s, not %q", Message, Payload, Delimited, c.Content)
	case c.Compression != Gzip && c.Compression != None:
		return fmt.Errorf("compression: want %s or %s, not %q", Gzip, None, c.Compression)
	case r.Bytes < 1<<10:
		return fmt.Errorf("rotate.bytes: want 1KiB or more, not %d", r.Bytes)
	case r.Every != 0 && r.Every < time.Second:
		return fmt.Errorf("rotate.every: want 1s or more, not %v", r.Every)
	case r.Keep < 0:
		return fmt.Errorf("rotate.keep: want 0 or more, not %d", r.Keep)
	}
	return nil
}
