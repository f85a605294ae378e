// Package feed makes publications, broadcasts and commands of records that come from a system behind the gateway. A Feed knows the other
// side's protocol. The rest is here: templates, bounds, retries, and what becomes of a record of which nothing can be made.
package feed

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
)

// Options are what a feed needs beside its own configuration. Each package of a feed has
//
//	func Open(c Config, o feed.Options) (feed.Feed, error)
//
// which contacts nobody: an error is about the configuration or a file that it names, and begins with the key.
type Options struct {
	Name    string          // of the source
	Node    uint16          // the number of this node
	Watcher *reload.Watcher // reads changed files again; it ends with the source
	Loops   *bridge.Loops   // of this node
	Log     *slog.Logger
}

// Record is a message of the other side. It and what it refers to belong to the receiver of Take: nobody changes them any more.
type Record struct {
	ID          string             // names the record on the other side, such as orders/3@17, in logs and in a command's key; may be empty
	Topic       string             // of the other side
	To          string             // the topic on which it is to be published, if the feed knows it and the configuration has no template
	Key         string             // may be empty
	Value       []byte             // the payload
	ContentType string             // may be empty
	Properties  []message.Property // headers of the other side, in order
	Time        time.Time          // there; zero if it is unknown
	QoS         message.QoS        // of the publication, unless the configuration has one
	Retain      bool               // the same
	Expiry      int64              // when it expires, in Unix milliseconds; 0 means never
	Err         error              // why there is no To: it goes to the dead letters, unless the configuration has a template
}

// Take takes a record. It waits while too many records are under way, and returns an error if ctx ends, or if a record that it took before
// has failed: then Run is to end with that error.
//
// If it returns nil, confirmed is called once, from any goroutine, without locks, perhaps before Take returns. It must not block. With nil, the record is done: what was
// made of it is safe, or it is in the dead letters. With an error nothing is known; the record has to come again, and all that
// came behind it, in the same order. So a feed confirms to the other side only what is confirmed without a gap.
type Take func(ctx context.Context, r *Record, confirmed func(error)) error

// Feed is where records come from.
type Feed interface {
	// Run connects, and gives the records to take, those of one key in order, until ctx ends or something fails. One goroutine calls it, again and again, with
	// pauses that grow; Misconfigured says that it is in vain. Records that were not confirmed when Run ended come again in the next
	// Run. When Run returns nobody calls take any more, and what the source has taken may still be confirmed: that is of no use, but allowed.
	Run(ctx context.Context, take Take) error

	// Lag returns how many records wait on the other side, if that is known.
	Lag() (records int64, known bool)

	// Close frees what Open has made. Run has ended.
	Close()
}

// Dropping is a Feed that leaves out records, or headers of records, of its own accord.
type Dropping interface {
	// Dropped returns how many, by the reason. The reasons are always the same. It is safe from any goroutine.
	Dropped() map[string]uint64
}

// Misconfigured returns err as one that only a person can mend: the source stops and says why, until its configuration changes.
func Misconfigured(err error) error { return &misconfiguredError{err} }

type misconfiguredError struct{ error }

func (e *misconfiguredError) Unwrap() error { return e.error }

// IsMisconfigured reports whether err, or one that it wraps, is of Misconfigured.
func IsMisconfigured(err error) bool {
	_, ok := errors.AsType[*misconfiguredError](err)
	return ok
}
