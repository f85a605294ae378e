package sql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/longline/longline/internal/sink/pump"
)

// dialMySQL returns a function that connects to a MySQL or MariaDB.
func dialMySQL(c *Config, o pump.Options) (func(context.Context) (session, error), error) {
	tls, password, err := c.credentials(o.Watcher)
	if err != nil {
		return nil, err
	}
	base := mysql.NewConfig()
	each := c.Timeout / time.Duration(len(c.Addresses)) // so that there is time for the last one
	base.User, base.DBName, base.Net, base.Timeout = c.User, c.Database, "tcp", each
	base.ClientFoundRows = true // an UPDATE that finds a row and changes nothing has found one
	base.MaxAllowedPacket = 0   // that of the server
	base.Logger = driverLog{o.Log}
	base.Params = map[string]string{
		// What a statement means must not depend on the server's configuration, and a value that does not fit must be an error.
		"sql_mode":                 "'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
		"time_zone":                "'+00:00'",
		"autocommit":               "1", // a statement by itself is a transaction
		"innodb_lock_wait_timeout": strconv.Itoa(int(max(1, c.Timeout/time.Second))),
	}
	connect := func(ctx context.Context, address string) (session, error) {
		config := base.Clone()
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config.Addr, config.Passwd, config.TLS = address, string(password()), tls(host)
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return nil, err
		}
		s := &mySQLSession{db: sql.OpenDB(connector), prepared: make(map[shape]*sql.Stmt)}
		if s.conn, err = s.db.Conn(ctx); err != nil {
			_ = s.db.Close()
			return nil, err
		}
		if len(c.Addresses) > 1 {
			var readOnly bool
			if err = s.conn.QueryRowContext(ctx, "select @@global.read_only").Scan(&readOnly); err == nil && readOnly {
				err = fmt.Errorf("%s is read-only", address)
			}
			if err != nil {
				s.close(false)
				return nil, err
			}
		}
		return s, nil
	}
	return func(ctx context.Context) (session, error) {
		var errs []error
		for _, address := range c.Addresses {
			limited, cancel := context.WithTimeout(ctx, each)
			s, err := connect(limited, address)
			cancel()
			if err == nil {
				return s, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}, nil
}

// driverLog is the driver's log, of what is returned as an error as well.
type driverLog struct{ log *slog.Logger }

// Print implements mysql.Logger.
func (l driverLog) Print(v ...any) {
	if l.log != nil {
		l.log.Debug("the driver of MySQL", "message", fmt.Sprint(v...))
	}
}

// mySQLSession is a connection to a MySQL or MariaDB.
type mySQLSession struct {
	db       *sql.DB // of this connection alone
	conn     *sql.Conn
	prepared map[shape]*sql.Stmt
	values   []any
}

// exec implements session.
func (s *mySQLSession) exec(ctx context.Context, text string) error {
	_, err := s.conn.ExecContext(ctx, text)
	return err
}

// close implements session.
func (s *mySQLSession) close(bool) {
	_ = s.conn.Close()
	_ = s.db.Close()
}

// place implements session.
func (s *mySQLSession) place(ctx context.Context, key placeKey) (place uint64, known bool, err error) {
	err = s.conn.QueryRowContext(ctx, "select `place` from "+placesTable+" where `node` = ? and `stream` = ? and `sink` = ?",
		key.node, key.stream, key.sink).Scan(&place)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return place, err == nil, err
}

// write implements session.
func (s *mySQLSession) write(ctx context.Context, work []batch, h how) error {
	statements := 0
	for _, b := range work {
		statements += len(b.table.insert.split(len(b.rows)))
	}
	if err := s.prepare(ctx, work); err != nil {
		return err
	}
	if statements == 1 && h.move == nil && !h.undo {
		return s.writeAll(ctx, work)
	}
	err := s.exec(ctx, "start transaction")
	if err == nil && h.move != nil {
		err = s.move(ctx, h.move)
	}
	if err == nil {
		err = s.writeAll(ctx, work)
	}
	return end(ctx, s, h, err)
}

// move moves the place.
func (s *mySQLSession) move(ctx context.Context, m *move) error {
	values := []any{m.to, m.node, m.stream, m.sink}
	text := "insert into " + placesTable + " (`place`, `node`, `stream`, `sink`) values (?, ?, ?, ?)"
	if m.known {
		text = "update " + placesTable + " set `place` = ? where `node` = ? and `stream` = ? and `sink` = ? and `place` = ?"
		values = append(values, m.from)
	}
	result, err := s.conn.ExecContext(ctx, text, values...)
	if err != nil {
		return moveError{err}
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return errors.Join(errMoved, err)
	}
	return nil
}

// prepare makes the server know all statements that work needs.
func (s *mySQLSession) prepare(ctx context.Context, work []batch) error {
	if len(s.prepared) > maxPrepared {
		for _, stmt := range s.prepared {
			_ = stmt.Close()
		}
		clear(s.prepared)
	}
	for _, b := range work {
		for _, n := range b.table.insert.split(len(b.rows)) {
			sh := shape{b.table.insert, n}
			if s.prepared[sh] != nil {
				continue
			}
			stmt, err := s.conn.PrepareContext(ctx, sh.insert.text(mySQL, n))
			if err != nil {
				return err
			}
			s.prepared[sh] = stmt
		}
	}
	return nil
}

// writeAll executes the statements for work.
func (s *mySQLSession) writeAll(ctx context.Context, work []batch) error {
	defer clear(s.values)
	for _, b := range work {
		rows := b.rows
		for _, n := range b.table.insert.split(len(rows)) {
			s.values = s.values[:0]
			b.table.insert.parameters(rows[:n], func(x any) {
				if d, ok := x.(document); ok {
					x = string(d)
				}
				s.values = append(s.values, x)
			})
			if _, err := s.prepared[shape{b.table.insert, n}].ExecContext(ctx, s.values...); err != nil {
				return err
			}
			rows = rows[n:]
		}
	}
	return nil
}
