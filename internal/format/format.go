// Package format turns payloads into a neutral tree and back: JSON, XML, Protobuf, Avro and CBOR. It also compresses.
//
// A payload in one format becomes one in another by Decode into a Tree and Encode from its Root. docs/formats.md says what becomes
// of numbers, dates, missing and unknown fields in each.
package format

import (
	"errors"
	"log/slog"

	"github.com/longline/longline/internal/reload"
)

// Format is one format as the configuration describes it. Safe from any goroutine; no method keeps what it is given.
//
// Errors name the field: "field a.b[3]: ...". An error says that this payload cannot be read or written, also next time, unless it
// wraps ErrAway.
//
// Avro with a schema registry may block, for at most 5 s: when it meets a schema for the first time, it asks the registry. So Decode and
// Encode are not for loops, and not to be called with a lock held.
type Format interface {
	// Decode makes t the tree of data. The tree borrows data, which must not change while t is used. After an error t is empty.
	Decode(t *Tree, data []byte) error
	// Encode appends v to dst. After an error it returns dst as it was.
	Encode(dst []byte, v Value) ([]byte, error)
	// ContentType returns the MIME type of what Encode makes.
	ContentType() string
}

// ErrAway is wrapped by an error of a Format that is not about the payload: the schema registry does not answer, or does not have what
// the configuration names. The same call may succeed later.
var ErrAway = errors.New("no schema from the registry")

// Options are what a Format needs besides its configuration.
type Options struct {
	Watcher *reload.Watcher // reads schemas and secrets in files again when they change
	Log     *slog.Logger    // nil logs nothing
	// Offline makes a Format contact nobody. A schema's number that only a registry knows is 0 then; a schema that only a registry
	// knows is an error.
	Offline bool
}

// Open returns the format that c describes; a Config that says nothing is JSON. It reads files and contacts nobody. An error begins with
// the key.
func Open(c Config, o Options) (Format, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	switch c.Name {
	case nameJSON, "":
		return jsonFormat{}, nil
	case nameCBOR:
		return cborFormat{}, nil
	case nameXML:
		return xmlFormat{c.XML.Root, c.XML.Numbers}, nil
	case nameProtobuf:
		return openProtobuf(c, o)
	case nameAvro:
		return openAvro(c, o)
	}
	return nil, errors.New("name: not there yet")
}
