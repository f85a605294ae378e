package format

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/longline/longline/internal/setting"
)

// The names of the formats.
const (
	nameJSON     = "json"
	nameXML      = "xml"
	nameProtobuf = "protobuf"
	nameAvro     = "avro"
	nameCBOR     = "cbor"
)

var names = []string{nameJSON, nameXML, nameProtobuf, nameAvro, nameCBOR}

// Config says which format a payload has. In the configuration it is one word (json), or a section.
type Config struct {
	Name     string   `yaml:"name" help:"json, xml, protobuf, avro or cbor; left out, the one of the sections below that is given. In place of a section with nothing but a name, the name can be given alone"`
	XML      XML      `yaml:"xml" help:"how XML is written and read"`
	Protobuf Protobuf `yaml:"protobuf" help:"the message"`
	Avro     Avro     `yaml:"avro" help:"the schema"`

	DropUnknown bool `yaml:"drop_unknown" help:"with protobuf and avro: leave out fields that the schema does not have; otherwise such a payload is refused"`
}

// XML is how XML is written and read.
type XML struct {
	Root    string `yaml:"root" help:"name of the root element"`
	Numbers bool   `yaml:"numbers" help:"read text that is a number, true or false as such; otherwise everything read is text"`
}

// Protobuf names a message.
type Protobuf struct {
	DescriptorSet string `yaml:"descriptor_set" help:"file that protoc --include_imports --descriptor_set_out=FILE or buf build -o FILE makes; read again when it changes"`
	Message       string `yaml:"message" help:"full name of the message, such as fleet.v1.Telemetry"`
}

// Avro says where the schema is.
type Avro struct {
	Schema     string   `yaml:"schema" help:"the schema, as JSON"`
	SchemaFile string   `yaml:"schema_file" help:"file with the schema, as JSON; read again when it changes"`
	Subject    string   `yaml:"subject" help:"name of the schema at the registry, such as telemetry-value"`
	Registry   Registry `yaml:"registry" help:"schema registry that speaks Confluent's REST; payloads begin with the number of their schema then"`
}

// Registry is a schema registry.
type Registry struct {
	URL      string         `yaml:"url" help:"URL of the registry, such as http://registry:8081"`
	Register bool           `yaml:"register" help:"register the schema if the registry does not have it under the subject"`
	User     string         `yaml:"user" help:"name for basic authentication"`
	Password setting.Secret `yaml:"password" help:"password for basic authentication"`
	Token    setting.Secret `yaml:"token" help:"bearer token, in place of a password"`
	TLS      setting.TLS    `yaml:"tls" help:"for the registry, if its URL is https"`
}

// UnmarshalText sets c from a name alone.
func (c *Config) UnmarshalText(name []byte) error {
	*c = Config{Name: string(name)}
	return nil
}

// Given reports whether c says anything.
func (c Config) Given() bool { return !isZero(c) }

func isZero(section any) bool { return reflect.ValueOf(section).IsZero() }

// WithDefaults implements setting.Section. A Config that says nothing stays so.
func (c Config) WithDefaults() Config {
	switch {
	case isZero(c):
		return c
	case c.Name != "":
	case !isZero(c.Avro):
		c.Name = nameAvro
	case !isZero(c.Protobuf):
		c.Name = nameProtobuf
	case !isZero(c.XML):
		c.Name = nameXML
	default:
		c.Name = nameJSON
	}
	if c.Name == nameXML {
		c.XML.Root = cmp.Or(c.XML.Root, "message")
	}
	return c
}

// Validate implements setting.Section.
func (c Config) Validate() error {
	if !c.Given() {
		return nil
	}
	if !slices.Contains(names, c.Name) {
		return fmt.Errorf("name: want one of %s, not %q", strings.Join(names, ", "), c.Name)
	}
	for _, s := range []struct {
		name    string
		section any
	}{{nameXML, c.XML}, {nameProtobuf, c.Protobuf}, {nameAvro, c.Avro}} {
		if s.name != c.Name && !isZero(s.section) {
			return fmt.Errorf("%s: the format is %s: want options of this one only", s.name, c.Name)
		}
	}
	switch c.Name {
	case nameXML:
		if !isXMLName(c.XML.Root) {
			return fmt.Errorf("xml.root: %w, not %q", errXMLName, c.XML.Root)
		}
	case nameProtobuf:
		return c.Protobuf.validate()
	case nameAvro:
		return c.Avro.validate()
	}
	return nil
}

// validate returns what is wrong. The error begins with the key.
func (c Protobuf) validate() error {
	switch {
	case c.DescriptorSet == "":
		return errors.New("protobuf.descriptor_set: want the name of a file")
	case c.Message == "":
		return errors.New("protobuf.message: want the full name of a message, such as fleet.v1.Telemetry")
	}
	return nil
}

// validate returns what is wrong. The error begins with the key.
func (c Avro) validate() error {
	if c.Schema != "" && c.SchemaFile != "" {
		return errors.New("avro.schema_file: want schema or schema_file, not both")
	}
	given := c.Schema != "" || c.SchemaFile != ""
	switch {
	case isZero(c.Registry) && !given:
		return errors.New("avro.schema: want a schema, a schema_file or a registry")
	case isZero(c.Registry) && c.Subject != "":
		return errors.New("avro.subject: it needs a registry")
	case isZero(c.Registry):
		return nil
	case given && c.Subject == "":
		return errors.New("avro.subject: want the name of the schema at the registry")
	case !given && c.Registry.Register:
		return errors.New("avro.registry.register: want a schema to register")
	}
	if err := c.Registry.validate(); err != nil {
		return fmt.Errorf("avro.registry.%w", err)
	}
	return nil
}
