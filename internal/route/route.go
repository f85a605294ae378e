package route

import (
	"log/slog"

	"github.com/longline/longline/internal/reload"
)

// Options are what a Route needs besides its Config.
type Options struct {
	Watcher *reload.Watcher // reads schemas again when their files change
	Log     *slog.Logger
}

// Route applies a Config to messages. It is safe for many goroutines at once, each with its own View.
type Route struct{}

// Open makes the route of c, which is valid and has its defaults. It contacts nobody.
func Open(c Config, o Options) (*Route, error) { return new(Route), nil }

// Apply reports whether the message of v goes there, and if so makes the changes of the route to v. An error is about this message alone.
func (r *Route) Apply(v *View) (keep bool, err error) { return true, nil }

// Close frees what the formats hold.
func (r *Route) Close() {}
