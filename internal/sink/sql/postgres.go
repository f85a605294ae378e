package sql

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/longline/longline/internal/sink/pump"
)

// dialPostgres returns a function that connects to a PostgreSQL.
func dialPostgres(c *Config, o pump.Options) (func(context.Context) (session, error), error) {
	tls, password, err := c.credentials(o.Watcher)
	if err != nil {
		return nil, err
	}
	base, err := pgconn.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err // of the environment's variables for PostgreSQL
	}
	// Nothing of the environment is used.
	each := c.Timeout / time.Duration(len(c.Addresses)) // so that there is time for the last one
	base.Database, base.User, base.ConnectTimeout = c.Database, c.User, each
	base.DialFunc = (&net.Dialer{Timeout: each}).DialContext
	base.RuntimeParams = map[string]string{"application_name": "longline " + o.Name, "client_encoding": "UTF8"} // whatever the database has
	base.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(r, w)
		f.SetMaxBodyLen(mostAnswer) // it makes room for what the server announces
		return f
	}
	base.ValidateConnect, base.AfterConnect, base.Fallbacks = nil, nil, nil
	if len(c.Addresses) > 1 {
		base.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	// The server ends what takes longer, also when nobody waits for it any more.
	ms := strconv.FormatInt(c.Timeout.Milliseconds(), 10)
	settings := "set standard_conforming_strings = on; set timezone = 'UTC'; set statement_timeout = " + ms + "; set idle_in_transaction_session_timeout = " + ms
	return func(ctx context.Context) (session, error) {
		config := base.Copy()
		config.Password = string(password())
		for i, address := range c.Addresses {
			host, portText, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			port, err := strconv.ParseUint(portText, 10, 16)
			if err != nil {
				return nil, err
			}
			f := &pgconn.FallbackConfig{Host: host, Port: uint16(port), TLSConfig: tls(host)}
			if i == 0 {
				config.Host, config.Port, config.TLSConfig = f.Host, f.Port, f.TLSConfig
			} else {
				config.Fallbacks = append(config.Fallbacks, f)
			}
		}
		conn, err := pgconn.ConnectConfig(ctx, config)
		if err != nil {
			return nil, err
		}
		s := &postgresSession{conn: conn, prepared: make(map[shape]*prepared), columns: make(map[*table][]uint32)}
		if err := s.exec(ctx, settings); err != nil {
			s.close(false)
			return nil, err
		}
		return s, nil
	}, nil
}

// mostAnswer bounds a message of the server, in bytes.
const mostAnswer = 1 << 20

// postgresSession is a connection to a PostgreSQL.
type postgresSession struct {
	conn     *pgconn.PgConn
	prepared map[shape]*prepared
	named    int                 // statements so far: the number of the last
	columns  map[*table][]uint32 // types of the columns that are copied

	buffer  []byte
	values  [][]byte
	formats []int16
}

// shape is a statement for a number of rows.
type shape struct {
	insert *insert
	rows   int
}

// prepared is a statement that the server knows.
type prepared struct {
	name  string
	types []uint32 // of the parameters
}

// maxPrepared bounds the statements that a connection has prepared, and the tables whose columns it knows.
const maxPrepared = 128

// exec implements session.
func (s *postgresSession) exec(ctx context.Context, text string) error {
	return s.conn.Exec(ctx, text).Close()
}

// close implements session.
func (s *postgresSession) close(politely bool) {
	if !politely {
		_ = s.conn.Conn().Close()
		return
	}
	const patience = time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = s.conn.Close(ctx)
}

// place implements session.
func (s *postgresSession) place(ctx context.Context, key placeKey) (place uint64, known bool, err error) {
	r := s.conn.ExecParams(ctx, "select place from "+placesTable+" where node = $1 and stream = $2 and sink = $3",
		[][]byte{[]byte(strconv.Itoa(key.node)), []byte(key.stream), []byte(key.sink)}, nil, nil, nil).Read()
	if r.Err != nil || len(r.Rows) == 0 {
		return 0, false, r.Err
	}
	place, err = strconv.ParseUint(string(r.Rows[0][0]), 10, 64)
	return place, err == nil, err
}

// write implements session.
func (s *postgresSession) write(ctx context.Context, work []batch, h how) error {
	copies := 0
	for _, b := range work {
		if b.copied {
			copies++
		}
	}
	// Otherwise what is sent is one transaction by itself.
	explicit := h.move != nil || h.undo || copies > 1 || copies > 0 && copies < len(work)
	if err := s.prepare(ctx, work); err != nil {
		return err
	}
	if !explicit {
		return s.writeAll(ctx, work)
	}
	err := s.begin(ctx, h.move)
	if err == nil {
		err = s.writeAll(ctx, work)
	}
	if h.undo && err == nil {
		err = s.exec(ctx, "set constraints all immediate") // they would be checked at the end
	}
	return end(ctx, s, h, err)
}

// begin begins a transaction, in which the place moves.
func (s *postgresSession) begin(ctx context.Context, m *move) error {
	if m == nil {
		return s.exec(ctx, "begin")
	}
	values := [][]byte{strconv.AppendUint(nil, m.to, 10), []byte(strconv.Itoa(m.node)), []byte(m.stream), []byte(m.sink)}
	text := "insert into " + placesTable + " (place, node, stream, sink) values ($1, $2, $3, $4)"
	if m.known {
		text = "update " + placesTable + " set place = $1 where node = $2 and stream = $3 and sink = $4 and place = $5"
		values = append(values, strconv.AppendUint(nil, m.from, 10))
	}
	p := s.conn.StartPipeline(ctx)
	p.SendQueryParams("begin", nil, nil, nil, nil)
	p.SendQueryParams(text, values, nil, nil, nil)
	var moved int64
	err := finish(p, func(tag pgconn.CommandTag) { moved = tag.RowsAffected() })
	switch {
	case err != nil:
		return moveError{err}
	case moved != 1:
		return errMoved
	}
	return nil
}

// finish sends what is in a pipeline, reads all results, and calls each, unless it is nil, for them.
func finish(p *pgconn.Pipeline, each func(pgconn.CommandTag)) error {
	err := p.Sync()
	for err == nil {
		var result any
		if result, err = p.GetResults(); err != nil {
			break
		}
		r, ok := result.(*pgconn.ResultReader)
		if !ok { // the end, or nothing
			break
		}
		var tag pgconn.CommandTag
		if tag, err = r.Close(); err == nil && each != nil {
			each(tag)
		}
	}
	if closing := p.Close(); err == nil {
		err = closing
	}
	return err
}

// writeAll writes work: what is not copied by one pipeline.
func (s *postgresSession) writeAll(ctx context.Context, work []batch) error {
	inserts := 0
	for _, b := range work {
		if !b.copied {
			inserts++
			continue
		}
		if err := s.copy(ctx, b); err != nil {
			return err
		}
	}
	if inserts == 0 {
		return nil
	}
	p := s.conn.StartPipeline(ctx)
	for _, b := range work {
		if b.copied {
			continue
		}
		rows := b.rows
		for _, n := range b.table.insert.split(len(rows)) {
			s.send(p, b.table.insert, rows[:n])
			rows = rows[n:]
		}
	}
	return finish(p, nil)
}

// prepare makes the server know all statements that work needs.
func (s *postgresSession) prepare(ctx context.Context, work []batch) error {
	if len(s.prepared) > maxPrepared || len(s.columns) > maxPrepared {
		if err := s.exec(ctx, "deallocate all"); err != nil {
			return err
		}
		clear(s.prepared)
		clear(s.columns)
	}
	for _, b := range work {
		if b.copied {
			if s.columns[b.table] != nil {
				continue
			}
			d, err := s.conn.Prepare(ctx, "", "select "+strings.Join(b.table.copy, ", ")+" from "+b.table.name, nil)
			if err != nil {
				return err
			}
			types := make([]uint32, len(d.Fields))
			for i, f := range d.Fields {
				types[i] = f.DataTypeOID
			}
			s.columns[b.table] = types
			continue
		}
		for _, n := range b.table.insert.split(len(b.rows)) {
			sh := shape{b.table.insert, n}
			if s.prepared[sh] != nil {
				continue
			}
			s.named++
			name := "longline_" + strconv.Itoa(s.named)
			d, err := s.conn.Prepare(ctx, name, sh.insert.text(postgres, n), nil)
			if err != nil {
				return err
			}
			s.prepared[sh] = &prepared{name, d.ParamOIDs}
		}
	}
	return nil
}

// send puts a statement for rows into a pipeline, which copies it.
func (s *postgresSession) send(p *pgconn.Pipeline, in *insert, rows [][]any) {
	known := s.prepared[shape{in, len(rows)}]
	s.buffer, s.values, s.formats = s.buffer[:0], s.values[:0], s.formats[:0]
	in.parameters(rows, func(x any) {
		const text, binary = 0, 1
		typ := known.types[len(s.values)]
		format := int16(text)
		start := len(s.buffer)
		switch {
		case x == nil:
			s.values, s.formats = append(s.values, nil), append(s.formats, text)
			return
		case typ == oidBytes:
			format = binary
			s.buffer = appendText(s.buffer, x)
		default:
			s.buffer = appendTyped(s.buffer, x, typ)
		}
		s.values, s.formats = append(s.values, s.buffer[start:len(s.buffer):len(s.buffer)]), append(s.formats, format)
	})
	p.SendQueryPrepared(known.name, s.values, s.formats, nil)
	s.keepBuffer()
}

// keepBuffer lets go of a large buffer.
func (s *postgresSession) keepBuffer() {
	const most = 4 << 20
	if cap(s.buffer) > most {
		s.buffer = nil
	}
	clear(s.values)
}

// The numbers of types in PostgreSQL that a value is written for.
const (
	oidBytes = 17
	oidJSON  = 114
	oidJSONB = 3802
)

// appendTyped appends a value other than nil as the text of a type of PostgreSQL, other than bytea.
func appendTyped(dst []byte, x any, typ uint32) []byte {
	if typ == oidJSON || typ == oidJSONB {
		switch x := x.(type) {
		case string, time.Time:
			text, err := json.Marshal(x)
			if err == nil { // a text that is no UTF-8 is none of JSON's either
				return append(dst, text...)
			}
		}
	}
	return appendText(dst, x)
}

// copy writes rows by COPY.
func (s *postgresSession) copy(ctx context.Context, b batch) error {
	types := s.columns[b.table]
	s.buffer = s.buffer[:0]
	for _, row := range b.rows {
		for i, x := range row {
			if i > 0 {
				s.buffer = append(s.buffer, '\t')
			}
			s.buffer = appendCopied(s.buffer, x, types[i])
		}
		s.buffer = append(s.buffer, '\n')
	}
	defer s.keepBuffer()
	_, err := s.conn.CopyFrom(ctx, bytes.NewReader(s.buffer), "copy "+b.table.name+" ("+strings.Join(b.table.copy, ", ")+") from stdin")
	return err
}

// appendCopied appends a value as COPY's text format has it.
func appendCopied(dst []byte, x any, typ uint32) []byte {
	if x == nil {
		return append(dst, `\N`...)
	}
	start := len(dst)
	if typ == oidBytes {
		dst = appendText(dst, x)
		plain := dst[start:]
		if b, ok := x.([]byte); ok {
			plain = b
		} else {
			plain = bytes.Clone(plain)
		}
		return hex.AppendEncode(append(dst[:start], `\\x`...), plain)
	}
	dst = appendTyped(dst, x, typ)
	special := 0
	for _, c := range dst[start:] {
		if c == '\\' || c == '\t' || c == '\n' || c == '\r' {
			special++
		}
	}
	if special == 0 {
		return dst
	}
	// From behind, so that nothing is overwritten that is still to be read.
	end := len(dst)
	dst = append(dst, make([]byte, special)...)
	to := len(dst)
	for from := end - 1; from >= start; from-- {
		c := dst[from]
		escaped := true
		switch c {
		case '\t':
			c = 't'
		case '\n':
			c = 'n'
		case '\r':
			c = 'r'
		case '\\':
		default:
			escaped = false
		}
		to--
		dst[to] = c
		if escaped {
			to--
			dst[to] = '\\'
		}
	}
	return dst
}
