package main

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/longline/longline/internal/bench"
	"github.com/longline/longline/test/servers"
)

const (
	leastRows = 30_000 // rows/s of PostgreSQL

	batchRows   = 500 // of a transaction, as the sink's batch.messages
	connections = 4
	floorTime   = 3 * time.Second
)

// database is a server for tables, which has none.
type database struct {
	name    string
	program servers.Program
	section string // of a sink, with the address to fill in
	least   bar
	// connect makes a connection. floor writes rows as the driver alone does, from place on, and returns when they are committed.
	connect func(ctx context.Context, s *servers.Process) (floor func(place, rows int) error, end func(), err error)
	// prepare creates the table of the floor as that of the sink; count returns the rows of the sink's.
	prepare func(ctx context.Context, s *servers.Process) error
	count   func(ctx context.Context, s *servers.Process) (int, error)
}

// sql measures how fast a sink writes what a stream has, from a start of the gateway until all is committed, and how fast the driver alone is.
func (o *options) sql(ctx context.Context, folder string) error {
	filled := filepath.Join(folder, "filled")
	n, err := o.fill(ctx, filled)
	if err != nil {
		return err
	}
	fmt.Printf("%d messages of %d B in a stream, batches of %d\n", n, o.Size, batchRows)
	for _, d := range []database{postgresDatabase(), mariaDatabase()} {
		if err := o.writeTables(ctx, folder, filled, d, n); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

// fill makes a gateway's files in folder whose stream has o.Rows messages or a few more, and returns how many.
func (o *options) fill(ctx context.Context, folder string) (int, error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return 0, err
	}
	at, err := newAddresses()
	if err != nil {
		return 0, err
	}
	g, err := o.startGateway(ctx, folder, at, `postgres: {addresses: ["127.0.0.1:1"], database: none, user: none, table: none}`)
	if err != nil {
		return 0, err
	}
	defer g.kill()
	c, err := bench.Connect(ctx, bench.Target{Addr: g.devices, Process: g.process(), Devices: "bench-", MQTT: &bench.MQTT{}}, o.Devices+1)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	const rate = 30_000
	if _, err := c.MQTTAcknowledged(ctx, bench.Load{
		Size: o.Size, Warmup: time.Second, Duration: time.Duration(o.Rows) * time.Second / rate, Rate: rate,
	}); err != nil {
		return 0, err
	}
	lag, err := g.lag(ctx)
	return int(lag), err
}

// writeTables measures one server.
func (o *options) writeTables(ctx context.Context, folder, filled string, d database, n int) error {
	dir := filepath.Join(folder, d.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s, err := servers.Launch(ctx, d.program, dir)
	if s != nil {
		defer s.Kill()
	}
	if err != nil {
		return err
	}
	section := fmt.Sprintf(d.section, s.Address())
	if err := o.writeTable(ctx, filepath.Join(dir, "lanes"), filled, section, d.name+", 16 lanes", n, d.least); err != nil {
		return err
	}
	section = strings.Replace(section, "table: telemetry", "table: exact, transactional: true", 1)
	if err := o.writeTable(ctx, filepath.Join(dir, "exact"), filled, section, d.name+", transactional, one lane", n, noBar); err != nil {
		return err
	}
	if rows, err := d.count(ctx, s); err != nil || rows != 2*n {
		return errors.Join(err, fmt.Errorf("the tables have %d rows, want twice %d", rows, n))
	}
	if err := d.prepare(ctx, s); err != nil {
		return err
	}
	for _, parallel := range []int{1, connections} {
		rate, err := floor(ctx, s, d, parallel)
		if err != nil {
			return err
		}
		show(fmt.Sprintf("    the driver alone, connections: %d", parallel), rate, "rows/s", noBar)
	}
	return nil
}

// writeTable measures a sink with a copy of the gateway's files.
func (o *options) writeTable(ctx context.Context, folder, filled, section, what string, n int, least bar) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(folder, "gateway"), os.DirFS(filepath.Join(filled, "gateway"))); err != nil {
		return err
	}
	at, err := newAddresses()
	if err != nil {
		return err
	}
	begun := time.Now()
	g, err := o.startGateway(ctx, folder, at, section)
	if err != nil {
		return err
	}
	defer g.kill()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := g.drain(ctx, 0); err != nil {
		return err
	}
	elapsed := time.Since(begun)
	cpu, err := g.process().CPU()
	if err != nil {
		return err
	}
	show(what+": from the start of the gateway until all are committed", float64(n)/elapsed.Seconds(), "rows/s", least)
	show("    gateway's CPU per row, with its start", bench.Micros(cpu/time.Duration(max(1, n))), "us", noBar)
	return nil
}

// floor returns the rows/s that the driver alone writes over so many connections.
func floor(ctx context.Context, s *servers.Process, d database, parallel int) (float64, error) {
	var wg sync.WaitGroup
	errs, rows := make([]error, parallel), make([]int, parallel)
	begun := time.Now()
	for i := range parallel {
		wg.Go(func() {
			write, end, err := d.connect(ctx, s)
			if err != nil {
				errs[i] = err
				return
			}
			defer end()
			const apart = 1 << 30
			for errs[i] == nil && time.Since(begun) < floorTime {
				errs[i] = write(parallel<<40+i*apart+rows[i], batchRows)
				rows[i] += batchRows
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(begun)
	sum := 0
	for _, n := range rows {
		sum += n
	}
	return float64(sum) / elapsed.Seconds(), errors.Join(errs...)
}

// columns are those of the sink's own table.
var columns = []string{"node", "stream", "place", "time", "source", "topic", "content_type", "payload"}

// row returns the values of a row of the floor.
func row(place int) []any {
	return []any{1, "telemetry", place, time.Now().UTC(), "bench-17", "device/bench-17/telemetry", "", make([]byte, 128)}
}

func postgresDatabase() database {
	connect := func(ctx context.Context, s *servers.Process) (*pgx.Conn, error) {
		return pgx.Connect(ctx, "postgres://postgres@"+s.Address()+"/postgres?sslmode=disable")
	}
	return database{
		name: "PostgreSQL", program: servers.PostgresProgram(), least: atLeast(leastRows),
		section: "postgres: {addresses: [%q], database: postgres, user: postgres, create: true, table: telemetry}",
		connect: func(ctx context.Context, s *servers.Process) (func(int, int) error, func(), error) {
			c, err := connect(ctx, s)
			if err != nil {
				return nil, nil, err
			}
			return func(place, rows int) error {
				_, err := c.CopyFrom(ctx, pgx.Identifier{"floor"}, columns, pgx.CopyFromSlice(rows, func(i int) ([]any, error) { return row(place + i), nil }))
				return err
			}, func() { _ = c.Close(ctx) }, nil
		},
		prepare: func(ctx context.Context, s *servers.Process) error {
			c, err := connect(ctx, s)
			if err != nil {
				return err
			}
			defer c.Close(ctx)
			_, err = c.Exec(ctx, "create table floor (like telemetry including all)")
			return err
		},
		count: func(ctx context.Context, s *servers.Process) (n int, err error) {
			c, err := connect(ctx, s)
			if err != nil {
				return 0, err
			}
			defer c.Close(ctx)
			return n, c.QueryRow(ctx, countAll).Scan(&n)
		},
	}
}

const countAll = "select (select count(*) from telemetry) + (select count(*) from exact)"

func mariaDatabase() database {
	connect := func(s *servers.Process) (*stdsql.DB, error) {
		return stdsql.Open("mysql", "root@tcp("+s.Address()+")/test?interpolateParams=true")
	}
	statement := "insert into floor (" + strings.Join(columns, ", ") + ") values " +
		strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?, ?, ?, ?), ", batchRows), ", ")
	return database{
		name: "MariaDB", program: servers.MariaDBProgram(), least: noBar,
		section: "mysql: {addresses: [%q], database: test, user: root, create: true, table: telemetry}",
		connect: func(ctx context.Context, s *servers.Process) (func(int, int) error, func(), error) {
			db, err := connect(s)
			if err != nil {
				return nil, nil, err
			}
			return func(place, rows int) error {
				values := make([]any, 0, rows*len(columns))
				for i := range rows {
					values = append(values, row(place+i)...)
				}
				_, err := db.ExecContext(ctx, statement, values...)
				return err
			}, func() { _ = db.Close() }, nil
		},
		prepare: func(ctx context.Context, s *servers.Process) error {
			db, err := connect(s)
			if err != nil {
				return err
			}
			defer db.Close()
			_, err = db.ExecContext(ctx, "create table floor like telemetry")
			return err
		},
		count: func(ctx context.Context, s *servers.Process) (n int, err error) {
			db, err := connect(s)
			if err != nil {
				return 0, err
			}
			defer db.Close()
			return n, db.QueryRowContext(ctx, countAll).Scan(&n)
		},
	}
}
