// Package sql is a sink that writes a stream's messages into tables of PostgreSQL, MySQL or MariaDB: each at least once, or together with
// its place in the stream exactly once.
package sql

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
)

// Config is what the sections of both kinds of servers have.
type Config struct {
	Addresses []string       `yaml:"addresses" help:"host and port of the server; of several servers, the first that can be reached and takes writes is used"`
	Database  string         `yaml:"database" help:"name of the database"`
	User      string         `yaml:"user" help:"name of the user"`
	Password  setting.Secret `yaml:"password" help:"the user's password"`
	TLS       TLS            `yaml:"tls" help:"encryption"`

	Insert string `yaml:"insert" help:"an INSERT statement with parameters from the message, such as insert into t (device, at, kwh) values (:source, :time, :payload.kWh); instead of table"`

	Table       string            `yaml:"table" help:"name of the table, or a template of it that begins with a text, such as telemetry or t_{payload.site}; with a point, SCHEMA.TABLE"`
	Columns     map[string]string `yaml:"columns" help:"the table's columns, each with a template of its value; left out, node, stream, place, time, source, topic, content_type, payload"`
	Upsert      []string          `yaml:"upsert" help:"columns that find the row that a message changes, if there is one; they have a unique index"`
	Create      bool              `yaml:"create" help:"create a table that does not exist, with the columns that there are when columns is left out"`
	PayloadType string            `yaml:"payload_type" help:"type of the payload in a created table: bytes, text or json; messages that do not fit are refused"`
	MaxTables   int               `yaml:"max_tables" help:"tables that the sink writes to, if the table has parts of the message; a message for one more is refused"`

	Transactional bool          `yaml:"transactional" help:"keep the place in the stream in the table longline_places of the same database, in the transaction that writes the messages, so that each is there once; one lane"`
	Timeout       time.Duration `yaml:"timeout" help:"how long the server may take for a batch, with connecting"`
}

// TLS says whether connections are encrypted.
type TLS struct {
	Enabled     bool `yaml:"enabled" help:"connect by TLS"`
	setting.TLS `yaml:",inline"`
}

// Postgres is the section of a PostgreSQL.
type Postgres struct {
	Config `yaml:",inline"`
}

// MySQL is the section of a MySQL or MariaDB.
type MySQL struct {
	Config `yaml:",inline"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Postgres) WithDefaults() Postgres { return Postgres{c.Config.withDefaults("127.0.0.1:5432")} }

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Postgres) Validate() error { return c.validate(postgres) }

// WithDefaults returns c with the defaults in place of zero fields.
func (c MySQL) WithDefaults() MySQL { return MySQL{c.Config.withDefaults("127.0.0.1:3306")} }

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c MySQL) Validate() error { return c.validate(mySQL) }

// OpenPostgres makes the target of c, which is valid and has its defaults. It contacts nobody. An error begins with the key.
func OpenPostgres(c Postgres, o pump.Options) (pump.Target, error) {
	return open(postgres, &c.Config, o)
}

// OpenMySQL makes the target of c, which is valid and has its defaults. It contacts nobody. An error begins with the key.
func OpenMySQL(c MySQL, o pump.Options) (pump.Target, error) { return open(mySQL, &c.Config, o) }

func (c Config) withDefaults(address string) Config {
	if len(c.Addresses) == 0 {
		c.Addresses = []string{address}
	}
	c.PayloadType = cmp.Or(c.PayloadType, payloadBytes)
	c.MaxTables = cmp.Or(c.MaxTables, 100)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	return c
}

const (
	mostAddresses = 16
	mostTables    = 10_000
	leastTimeout  = 100 * time.Millisecond
	mostTimeout   = 10 * time.Minute
)

func (c *Config) validate(lang language) error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.Addresses) > mostAddresses, "addresses: want at most %d", mostAddresses)
	for _, a := range c.Addresses {
		host, port, err := net.SplitHostPort(a)
		bad(err != nil || host == "" || port == "", "addresses: want host and port such as db:5432, not %q", setting.WithoutUser(a))
	}
	bad(c.Database == "", "database: want the name of a database")
	bad(c.User == "", "user: want the name of a user")
	for _, err := range setting.Errors(c.TLS.TLS.Validate()) {
		bad(true, "tls.%w", err)
	}
	bad(!c.TLS.Enabled && c.TLS.TLS != (setting.TLS{}), "tls.enabled: want true, because there are options for TLS")
	if err := c.validateTable(lang); err != nil {
		errs = append(errs, err)
	}
	types := []string{payloadBytes, payloadText, payloadJSON}
	bad(!slices.Contains(types, c.PayloadType), "payload_type: want one of %s, not %q", strings.Join(types, ", "), c.PayloadType)
	bad(c.MaxTables < 1 || c.MaxTables > mostTables, "max_tables: want 1 to %d, not %d", mostTables, c.MaxTables)
	bad(c.Timeout < leastTimeout || c.Timeout > mostTimeout, "timeout: want %v to %v, not %v", leastTimeout, mostTimeout, c.Timeout)
	return errors.Join(errs...)
}

// validateTable returns what is wrong with where messages go.
func (c *Config) validateTable(lang language) error {
	switch {
	case (c.Insert == "") == (c.Table == ""):
		return errors.New("table: want table or insert, and not both")
	case c.Insert != "" && (len(c.Columns) > 0 || len(c.Upsert) > 0 || c.Create):
		return errors.New("insert: want columns, upsert and create in the statement, or table in its place")
	case c.Create && (len(c.Columns) > 0 || len(c.Upsert) > 0):
		return errors.New("create: want no columns and no upsert: such a table is yours to create")
	case c.Insert != "":
		if _, _, err := parseInsert(lang, c.Insert); err != nil {
			return fmt.Errorf("insert: %w", err)
		}
		return nil
	}
	_, err := newLayout(lang, c)
	return err
}

// credentials returns functions that return what each connection needs: the configuration of TLS to a host, nil without, and the password.
func (c *Config) credentials(w *reload.Watcher) (configure func(host string) *tls.Config, password func() []byte, err error) {
	configure = func(string) *tls.Config { return nil }
	if c.TLS.Enabled {
		if configure, err = c.TLS.Client(w); err != nil {
			return nil, nil, fmt.Errorf("tls.%w", err)
		}
	}
	if password, err = c.Password.Follow(w, nil); err != nil {
		return nil, nil, fmt.Errorf("password: %w", err)
	}
	return configure, password, nil
}
