//go:build servers

package sinks

import (
	stdsql "database/sql"
	"fmt"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/sink/sql"
	"github.com/longline/longline/test/servers"
)

// An SQL sink with its own table, whose key makes repetitions harmless, and with a table of the user's.
func TestPostgres(t *testing.T) {
	t.Run("own table", func(t *testing.T) { sinktest.Run(t, new(postgresServer).contract(ownTable)) })
	t.Run("transactional", func(t *testing.T) { sinktest.Run(t, new(postgresServer).contract(transactional)) })
}

func TestMariaDB(t *testing.T) {
	t.Run("own table", func(t *testing.T) {
		sinktest.Run(t, (&mySQLServer{start: servers.MariaDB}).contract(ownTable))
	})
	t.Run("transactional", func(t *testing.T) {
		sinktest.Run(t, (&mySQLServer{start: servers.MariaDB}).contract(transactional))
	})
}

// mode is how a sink writes.
type mode int

const (
	ownTable mode = iota
	transactional
)

// configure returns what both kinds of servers have in common. In ownTable the sink creates a table; in transactional it writes into one of the
// user's, which has nothing that would find a repetition.
func configure(m mode, proxy, where string) sql.Config {
	c := sql.Config{Addresses: []string{proxy}, Table: where, PayloadType: "json", Create: m == ownTable, Timeout: time.Second}
	if m == transactional {
		c.Transactional = true
		c.Columns = map[string]string{"device": "{source}", "place": "{place}", "at": "{time}", "payload": "{payload}"}
	}
	return c
}

// order returns the column by which rows are in the order in which they were written.
func order(m mode) string {
	if m == ownTable {
		return "place"
	}
	return "id"
}

type postgresServer struct {
	*servers.Server
	opened string // the last table
}

func (p *postgresServer) contract(m mode) sinktest.Server {
	return sinktest.Server{
		Start: func(t testing.TB, _ string) string {
			if p.Server == nil {
				p.Server = servers.Postgres(t)
			} else {
				p.Restart()
			}
			return p.Address()
		},
		Kill: func(testing.TB) { p.Kill() },
		Open: func(t testing.TB, proxy, where string, o pump.Options) pump.Target {
			if m == transactional && where != p.opened {
				p.opened = where
				p.exec(t, "create table "+where+" (id bigserial, device text, place bigint, at timestamptz, payload jsonb)")
			}
			c := sql.Postgres{Config: configure(m, proxy, where)}
			c.Database, c.User = "postgres", "postgres"
			c = c.WithDefaults()
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			target, err := sql.OpenPostgres(c, o)
			if err != nil {
				t.Fatal(err)
			}
			return target
		},
		Read: func(t testing.TB, where string) [][]byte {
			conn := p.connect(t)
			defer conn.Close(t.Context())
			rows, err := conn.Query(t.Context(), fmt.Sprintf("select payload::text from %s order by %s", where, order(m)))
			if err != nil {
				t.Fatal(err)
			}
			payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
			if err != nil {
				t.Fatal(err)
			}
			return payloads
		},
		Once: true,
		Bad:  []byte("no JSON"),
	}
}

func (p *postgresServer) connect(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), "postgres://postgres@"+p.Address()+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func (p *postgresServer) exec(t testing.TB, text string) {
	t.Helper()
	conn := p.connect(t)
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

type mySQLServer struct {
	*servers.Server
	start  func(testing.TB, ...string) *servers.Server
	opened string // the last table
}

func (s *mySQLServer) contract(m mode) sinktest.Server {
	return sinktest.Server{
		Start: func(t testing.TB, _ string) string {
			if s.Server == nil {
				s.Server = s.start(t)
			} else {
				s.Restart()
			}
			return s.Address()
		},
		Kill: func(testing.TB) { s.Kill() },
		Open: func(t testing.TB, proxy, where string, o pump.Options) pump.Target {
			if m == transactional && where != s.opened {
				s.opened = where
				db := s.connect(t)
				defer db.Close()
				if _, err := db.Exec("create table " + where +
					" (id bigint auto_increment primary key, device text, place bigint, at datetime(3), payload json)"); err != nil {
					t.Fatal(err)
				}
			}
			c := sql.MySQL{Config: configure(m, proxy, where)}
			c.Database, c.User = "test", "root"
			c = c.WithDefaults()
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			target, err := sql.OpenMySQL(c, o)
			if err != nil {
				t.Fatal(err)
			}
			return target
		},
		Read: func(t testing.TB, where string) (payloads [][]byte) {
			db := s.connect(t)
			defer db.Close()
			rows, err := db.Query(fmt.Sprintf("select payload from %s order by %s", where, order(m)))
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var text []byte
				if err := rows.Scan(&text); err != nil {
					t.Fatal(err)
				}
				payloads = append(payloads, text)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return payloads
		},
		Once: true,
		Bad:  []byte("no JSON"),
	}
}

func (s *mySQLServer) connect(t testing.TB) *stdsql.DB {
	t.Helper()
	db, err := stdsql.Open("mysql", "root@tcp("+s.Address()+")/test")
	if err != nil {
		t.Fatal(err)
	}
	return db
}
