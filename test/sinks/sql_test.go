//go:build servers || long

package sinks

import (
	"cmp"
	stdsql "database/sql"
	"fmt"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/sink/sql"
	"github.com/longline/longline/test/servers"
)

// An SQL sink with its own table, whose key makes repetitions harmless, and with a table of the user's.
func TestPostgres(t *testing.T) {
	contracts(t, startPostgres(t), sinktest.Run)
}
func TestMariaDB(t *testing.T) {
	contracts(t, startMariaDB(t), sinktest.Run)
}

// The server begins a transaction with each statement and waits for a COMMIT, if nobody says otherwise. What the sink confirms is committed.
func TestMariaDBWithoutAutocommit(t *testing.T) {
	d := startMariaDB(t, "--autocommit=0")
	d.run(t, "create table t (device text, payload text)")
	target := d.open(t, sql.Config{
		Addresses: []string{d.address()}, Table: "t", Columns: map[string]string{"device": "{source}", "payload": "{payload}"}, Timeout: 20 * time.Second,
	}, pump.Options{Name: "main", Stream: "s", Watcher: new(reload.Watcher), Log: sinktest.Log})
	v, r := new(route.View), new(pump.Record)
	r.Message = &message.Message{Topic: "t", Source: "d", Payload: []byte("1")}
	v.Reset(r.Message)
	if err := target.Prepare(v, r); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Send(t.Context(), []*pump.Record{r}); err != nil {
		t.Fatal(err)
	}
	target.Close()
	if rows := d.run(t, "select payload from t"); len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
}

// contracts runs the contract for both modes, with one server.
func contracts(t *testing.T, d database, run func(*testing.T, sinktest.Server)) {
	t.Run("own table", func(t *testing.T) { run(t, contract(d, ownTable)) })
	t.Run("transactional", func(t *testing.T) { run(t, contract(d, transactional)) })
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

// database is a server with tables, for tests.
type database interface {
	address() string
	// run runs a statement and returns its rows as texts; NULL is nil.
	run(t testing.TB, text string) [][][]byte
	// hold runs a statement in a transaction that is open until release is called.
	hold(t testing.TB, text string) (release func())
	// open opens a target for the user of run.
	open(t testing.TB, c sql.Config, o pump.Options) pump.Target
	restart(t testing.TB)
	kill()
}

// contract is a database, which runs, as the contract wants it.
func contract(d database, m mode) sinktest.Server {
	opened, killed := "", false
	return sinktest.Server{
		Start: func(t testing.TB, _ string) string {
			if killed {
				d.restart(t)
			}
			return d.address()
		},
		Kill: func(testing.TB) {
			d.kill()
			killed = true
		},
		Open: func(t testing.TB, proxy, where string, o pump.Options) pump.Target {
			if m == transactional && where != opened {
				opened = where
				d.run(t, "create table "+where+" (id serial, device text, place bigint, at timestamp(3), payload json)")
			}
			return d.open(t, configure(m, proxy, where), o)
		},
		Read: func(t testing.TB, where string) (payloads [][]byte) {
			for _, row := range d.run(t, fmt.Sprintf("select payload from %s order by %s", where, order(m))) {
				payloads = append(payloads, row[0])
			}
			return payloads
		},
		Once: true,
		Bad:  []byte("no JSON"),
	}
}

type postgres struct{ *servers.Server }

func startPostgres(t testing.TB, options ...string) database {
	return postgres{servers.Postgres(t, options...)}
}

func (p postgres) address() string      { return p.Address() }
func (p postgres) restart(t testing.TB) { t.Helper(); p.Restart() }
func (p postgres) kill()                { p.Kill() }

func (p postgres) run(t testing.TB, text string) (rows [][][]byte) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), "postgres://postgres@"+p.Address()+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	results, err := conn.Exec(t.Context(), text).ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for _, r := range results {
		rows = append(rows, r.Rows...)
	}
	return rows
}

func (p postgres) hold(t testing.TB, text string) (release func()) {
	t.Helper()
	conn, err := pgconn.Connect(t.Context(), "postgres://postgres@"+p.Address()+"/postgres?sslmode=disable")
	if err == nil {
		_, err = conn.Exec(t.Context(), "begin; "+text).ReadAll()
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close(t.Context()) }
}

func (p postgres) open(t testing.TB, c sql.Config, o pump.Options) pump.Target {
	t.Helper()
	c.Database, c.User = cmp.Or(c.Database, "postgres"), cmp.Or(c.User, "postgres")
	config := sql.Postgres{Config: c}.WithDefaults()
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	target, err := sql.OpenPostgres(config, o)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// mySQL is a MySQL or MariaDB.
type mySQL struct{ *servers.Server }

func startMariaDB(t testing.TB, options ...string) database {
	return mySQL{servers.MariaDB(t, options...)}
}

func (m mySQL) address() string      { return m.Address() }
func (m mySQL) restart(t testing.TB) { t.Helper(); m.Restart() }
func (m mySQL) kill()                { m.Kill() }

func (m mySQL) run(t testing.TB, text string) (all [][][]byte) {
	t.Helper()
	db, err := stdsql.Open("mysql", "root@tcp("+m.Address()+")/test?multiStatements=true")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		row, into := make([][]byte, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return all
}

func (m mySQL) hold(t testing.TB, text string) (release func()) {
	t.Helper()
	db, err := stdsql.Open("mysql", "root@tcp("+m.Address()+")/test")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.Exec(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() { _, _ = tx.Rollback(), db.Close() }
}

func (m mySQL) open(t testing.TB, c sql.Config, o pump.Options) pump.Target {
	t.Helper()
	c.Database, c.User = cmp.Or(c.Database, "test"), cmp.Or(c.User, "root")
	config := sql.MySQL{Config: c}.WithDefaults()
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	target, err := sql.OpenMySQL(config, o)
	if err != nil {
		t.Fatal(err)
	}
	return target
}
