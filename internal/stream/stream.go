// Package stream keeps the messages that match filters in durable, ordered, bounded logs, from which backends read at
// their own speed: streams.
//
// A stream is a subscriber of the router that writes what it gets into a journal of its own, in DIR/streams/NAME. A QoS 1
// or 2 publication is answered when the journal has it on disk. An entry has a number without gaps, its place. A consumer
// is a name with a place: all entries before it are done. The places are values of the node's store.
package stream

import (
	"errors"
	"time"
)

var (
	// ErrClosed is the error of readers and acknowledgements after Set.Close.
	ErrClosed = errors.New("the stream is closed")
	// ErrTakenOver ends a reader, because a newer one reads for its consumer.
	ErrTakenOver = errors.New("a newer reader took over the consumer")
	// ErrDeleted ends a reader, because its consumer was deleted.
	ErrDeleted = errors.New("the consumer was deleted")
	// ErrConsumer says that a stream has no consumer of that name.
	ErrConsumer = errors.New("the stream has no such consumer")
	// ErrName refuses a consumer's name.
	ErrName = errors.New("want a consumer's name of 1 to 128 bytes of UTF-8, without / + # and control characters")
	// ErrPlace refuses to acknowledge what the stream does not have yet.
	ErrPlace = errors.New("the place is behind the end of the stream")
	// ErrTooMany refuses a consumer or reader beyond the bounds of a stream.
	ErrTooMany = errors.New("the stream has as many consumers or readers as it may")
)

// Stream is one stream. Its methods are safe from any goroutine.
type Stream struct{}

// Info is the state of a stream.
type Info struct {
	Name    string
	Filters []string

	MaxBytes int
	MaxAge   time.Duration // 0 means without a bound
	WhenFull string

	First, End uint64    // places: of the oldest entry, which is End if there is none; behind the newest one
	Bytes      int64     // what the entries take on disk
	Disk       int64     // of all files of the stream
	Oldest     time.Time // when the oldest entry came; zero if there is none
	Readers    int

	Consumers []Consumer // by name
	Err       error      // why the stream takes no messages at present
}

// Consumer is the state of a consumer.
type Consumer struct {
	Name    string
	Place   uint64 // all entries before it are done
	Lag     Lag
	Reading bool   // a reader is open
	Missed  uint64 // entries that were dropped, or spoilt on the disk, before the consumer had acknowledged them
}

// Lag is how far a consumer is behind the end of a stream.
type Lag struct {
	Messages uint64
	Bytes    int64         // on disk
	Age      time.Duration // how long the oldest entry that is not done has been there
}

// Info returns the state of s. It reads from the disk: not on a loop, and with no lock held.
func (s *Stream) Info() Info { return Info{} }

// Open returns a reader. With a consumer's name it begins at the consumer's place, and a reader of the consumer that is
// open ends with ErrTakenOver; a new consumer begins at from. Without a name it begins at from. It may read from the
// disk, to find a time: not on a loop.
func (s *Stream) Open(consumer string, from Start) (*Reader, error) { return nil, ErrClosed }

// Acknowledge notes that all entries before place are done; what was done before stays done. It calls done once, from
// any goroutine, with no lock held: with nil when that is safe. The error is ErrConsumer, ErrPlace, or the store's.
func (s *Stream) Acknowledge(consumer string, place uint64, done func(error)) { done(ErrClosed) }

// DeleteConsumer forgets a consumer. A reader of it ends with ErrDeleted. If it returns nil, it calls done once, as
// Acknowledge does, when that is safe.
func (s *Stream) DeleteConsumer(name string, done func(error)) error { return ErrConsumer }
