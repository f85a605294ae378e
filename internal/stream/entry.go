package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/longline/longline/internal/message"
)

// A record of a stream's journal is an entry: one byte with the version, the time at which the stream took the message
// in Unix milliseconds as a varint, and the record of the message.

const entryVersion = 1

// entryOverhead is the most that an entry has in front of the record of its message.
const entryOverhead = 1 + binary.MaxVarintLen64

// errEntry is wrapped by the errors of parseEntry.
var errEntry = errors.New("stream: bad entry")

// appendEntry appends the entry of m to dst.
func appendEntry(dst []byte, milliseconds int64, m *message.Message) []byte {
	dst = append(dst, entryVersion)
	dst = binary.AppendUvarint(dst, uint64(milliseconds))
	return message.AppendRecord(dst, m)
}

// splitEntry returns when the stream took the entry's message, in Unix milliseconds, and the record of the message, a
// view of p.
func splitEntry(p []byte) (milliseconds int64, record []byte, err error) {
	if len(p) == 0 || p[0] != entryVersion {
		return 0, nil, fmt.Errorf("%w: its version is unknown", errEntry)
	}
	v, n := binary.Uvarint(p[1:])
	if n <= 0 || v > math.MaxInt64 {
		return 0, nil, fmt.Errorf("%w: it has no time", errEntry)
	}
	return int64(v), p[1+n:], nil
}

// parseEntry returns the entry p, whose message has views of p: nobody may change p any more.
func parseEntry(place uint64, p []byte) (Entry, error) {
	milliseconds, record, err := splitEntry(p)
	if err != nil {
		return Entry{}, err
	}
	m, err := message.ParseRecord(record)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", errEntry, err)
	}
	return Entry{Place: place, Time: time.UnixMilli(milliseconds), Message: m}, nil
}
