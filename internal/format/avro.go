package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/longline/longline/internal/reload"
)

// avroFormat is Avro's binary encoding with one schema: the payload alone, without a header.
type avroFormat struct {
	schema      func() *avroSchema
	dropUnknown bool
}

// avroSchema is a schema as text, and what it describes.
type avroSchema struct {
	text []byte
	*avroType
}

func readAvroSchema(text []byte) (*avroSchema, error) {
	t, err := parseAvro(text)
	if err != nil {
		const most = 200 // the parser's error may have the whole text
		if said := err.Error(); len(said) > most {
			err = errors.New(strings.ToValidUTF8(said[:most], "") + "...")
		}
		return nil, fmt.Errorf("want an Avro schema: %w", err)
	}
	return &avroSchema{text, t}, nil
}

// openAvro opens the format of a valid configuration.
func openAvro(c Config, o Options) (Format, error) {
	plain := &avroFormat{dropUnknown: c.DropUnknown}
	switch {
	case c.Avro.SchemaFile != "":
		file, err := reload.Open(o.Watcher, c.Avro.SchemaFile, readAvroSchema)
		if err != nil {
			return nil, fmt.Errorf("avro.schema_file: %w", err)
		}
		plain.schema = file.Get
	case c.Avro.Schema != "":
		schema, err := readAvroSchema([]byte(c.Avro.Schema))
		if err != nil {
			return nil, fmt.Errorf("avro.schema: %w", err)
		}
		plain.schema = func() *avroSchema { return schema }
	}
	if c.Avro.Registry.URL == "" {
		return plain, nil
	}
	r, err := openRegistry(c.Avro.Registry, o)
	if err != nil {
		return nil, fmt.Errorf("avro.registry.%w", err)
	}
	return &confluentFormat{avroFormat: *plain, registry: r, subject: c.Avro.Subject, offline: o.Offline}, nil
}

func (f *avroFormat) ContentType() string { return "application/avro" }

func (f *avroFormat) Decode(t *Tree, data []byte) error {
	return decodeAvro(t, data, f.schema().avroType)
}

func (f *avroFormat) Encode(dst []byte, v Value) ([]byte, error) {
	return f.encode(dst, f.schema().avroType, v)
}

func (f *avroFormat) encode(dst []byte, t *avroType, v Value) ([]byte, error) {
	e := avroEncoder{v.tree, len(dst), f.dropUnknown}
	out, err := e.append(dst, t, v)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func decodeAvro(t *Tree, data []byte, schema *avroType) error {
	root := t.begin()
	d := avroDecoder{t, data}
	err := d.value(schema, root)
	if err == nil && len(d.data) > 0 {
		err = errBehind
	}
	if err != nil {
		t.Reset()
	}
	return err
}

// confluentFormat is Avro in Confluent's wire format: a zero byte, the schema's number at the registry in 4 bytes, and the payload.
type confluentFormat struct {
	avroFormat // schema is nil if only the registry has it
	registry   *registry
	subject    string
	offline    bool
}

const confluentHeader = 5

var errHeader = errors.New("want a zero byte and the number of a schema in front")

func (f *confluentFormat) Decode(t *Tree, data []byte) error {
	t.Reset()
	if len(data) < confluentHeader || data[0] != 0 {
		return errHeader
	}
	schema, err := f.registry.byID(binary.BigEndian.Uint32(data[1:]))
	if err != nil {
		return err
	}
	return decodeAvro(t, data[confluentHeader:], schema.avroType)
}

func (f *confluentFormat) Encode(dst []byte, v Value) ([]byte, error) {
	id, schema, err := f.writer()
	if err != nil {
		return dst, err
	}
	out, err := f.encode(binary.BigEndian.AppendUint32(append(dst, 0), id), schema.avroType, v)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// writer returns the schema of what is written, with its number.
func (f *confluentFormat) writer() (id uint32, schema *avroSchema, err error) {
	if f.schema == nil {
		return f.registry.latest(f.subject)
	}
	schema = f.schema()
	if f.offline {
		return 0, schema, nil
	}
	id, err = f.registry.idOf(f.subject, schema)
	return id, schema, err
}
