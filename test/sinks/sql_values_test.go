//go:build servers || long

package sinks

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sql"
)

func TestPostgresValues(t *testing.T) { testValues(t, startPostgres(t)) }
func TestMariaDBValues(t *testing.T)  { testValues(t, startMariaDB(t, smallPacket)) }

// smallPacket makes a MySQL or MariaDB refuse larger values.
const smallPacket = "--max-allowed-packet=1M"

// testValues tests what arrives of messages, and what becomes of those that do not fit.
func testValues(t *testing.T, d database) {
	w := &values{database: d}
	_, w.mySQL = d.(mySQL)
	for name, test := range map[string]func(*testing.T){
		"types": w.types, "texts": w.texts, "refused": w.refused, "kinds of errors": w.kinds, "upsert": w.upsert, "statements": w.statements,
		"tables that messages name": w.tables, "two processes": w.twoProcesses, "large": w.large, "locked": w.locked,
	} {
		t.Run(name, test)
	}
}

type values struct {
	database
	mySQL bool
}

// either returns the first for MySQL and MariaDB, the second for PostgreSQL.
func (w *values) either(mySQL, postgres string) string {
	if w.mySQL {
		return mySQL
	}
	return postgres
}

// target opens a target.
func (w *values) target(t *testing.T, c sql.Config) pump.Target {
	t.Helper()
	c.Addresses = []string{w.address()}
	target := w.open(t, c, options(pump.Options{Node: 3, Stream: "all"}))
	t.Cleanup(target.Close)
	return target
}

// payloads returns messages with these payloads.
func payloads(texts ...string) (all []*message.Message) {
	for i, text := range texts {
		all = append(all, &message.Message{
			Topic: "device/m-7/telemetry", Source: "m-7", Payload: []byte(text), ContentType: message.JSON,
			Time: time.Date(2026, 11, 27, 12, 0, i, 5e6, time.UTC).UnixMilli(),
		})
	}
	return all
}

// send sends messages and wants them all to be taken.
func (w *values) send(t *testing.T, to pump.Target, messages ...*message.Message) {
	t.Helper()
	records := prepare(t, to, messages...)
	if done, err := to.Send(t.Context(), records); err != nil || done != len(records) {
		t.Fatalf("%d of %d: %v", done, len(records), err)
	}
}

// shown returns rows as a text.
func shown(rows [][][]byte) string {
	var b strings.Builder
	for _, row := range rows {
		for i, x := range row {
			if i > 0 {
				b.WriteByte('|')
			}
			if x == nil {
				b.WriteString("NULL")
			}
			b.Write(x)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Both ways in which PostgreSQL gets rows, and the one of MySQL, understand the same values.
func (w *values) types(t *testing.T) {
	columns := map[string]string{
		"i": "{payload.i}", "n": "{payload.n}", "f": "{payload.f}", "b": "{payload.b}", "s": "{payload.s}", "bin": "{payload}", "j": "{payload.j}",
		"x": "{payload.x?}", "at": "{time}", "day": "{time:2006-01-02}", "place": "{place}", "num": "{payload.f}",
	}
	var names, parameters []string
	for name, value := range columns {
		names, parameters = append(names, name), append(parameters, ":"+value)
	}
	w.run(t, "create table types (i bigint, n numeric(20), f double precision, b boolean, s text, bin "+w.either("longblob", "bytea")+
		", j "+w.either("json", "jsonb")+", x text, at "+w.either("datetime(3)", "timestamptz(3)")+", day date, place bigint, num numeric(10,2))")
	const payload = `{"i":-9007199254740993,"n":18446744073709551615,"f":21.25,"b":true,"s":"é\n\\","j":{"a":[1,null,"x"]}}`
	for _, c := range []sql.Config{
		{Table: "types", Columns: columns},
		{Insert: "insert into types (" + strings.Join(names, ", ") + ") values (" + strings.Join(parameters, ", ") + ")"},
	} {
		w.run(t, "delete from types")
		w.send(t, w.target(t, c), payloads(payload, payload, payload)...)
		rows := w.run(t, "select i, n, f, "+w.either("if(b, 'true', 'false')", "b::text")+", s, "+w.either("hex(bin)", "encode(bin, 'hex')")+", j, x, "+
			w.either("at", "to_char(at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS')")+", day, place, num from types order by place")
		if len(rows) != 3 {
			t.Fatalf("%d rows", len(rows))
		}
		want := []string{
			"-9007199254740993", "18446744073709551615", "21.25", "true", "é\n\\", hex.EncodeToString([]byte(payload)),
			`{"a":[1,null,"x"]}`, "", "2026-11-27 12:00:00.005", "2026-11-27", "1", "21.25",
		}
		for i, x := range rows[0] {
			got := string(x)
			switch i {
			case 5:
				got = strings.ToLower(got)
			case 6:
				var b bytes.Buffer
				if err := json.Compact(&b, x); err != nil {
					t.Errorf("%q: %v", x, err)
				}
				got = b.String()
			case 7:
				if x != nil {
					t.Errorf("want NULL, not %q", x)
				}
			}
			if got != want[i] {
				t.Errorf("column %d is %q, want %q", i, got, want[i])
			}
		}
	}
}

// Whatever text a device sends, it arrives as it is, and nothing else happens.
func (w *values) texts(t *testing.T) {
	attacks := []string{
		"'; drop table victim; --", "\"; drop table victim; --", "`; drop table victim; --", `\'; drop table victim; --`, `\`, `\\`, `\\'`, "''", `'||(select 1)||'`,
		"\\N", "\\.", "\t", "\n\\.\n", "\r\n", "a\tb\nc\rd\be\ff\vg", "$1", "?", "??", ":source", "$$", "$x$", "/*", "*/", "-- ", "#", "\x1a", "\x7f", "%s", "{}", "{source}",
		"\u00bf'; drop table victim; --", "ü", "\u00bf\\", "\U0001F600", "\u2028", "\ufeff", "1;2", "null", "NULL", "true", "E'\\x27'", "U&'\\0027'", "\\x27", "\\047", "0x27",
		strings.Repeat("'", 1000), strings.Repeat("\\", 1001), "",
	}
	w.run(t, "create table victim (a int)")
	w.run(t, "create table texts (id "+w.either("bigint auto_increment primary key", "bigserial")+", a "+w.either("text character set utf8mb4", "text")+
		", b "+w.either("text character set utf8mb4", "text")+")")
	var messages []*message.Message
	var wanted []string
	for _, a := range attacks {
		text, err := json.Marshal(map[string]string{"a": a})
		if err != nil {
			t.Fatal(err)
		}
		m := payloads(string(text))[0]
		m.Topic = "device/" + a
		messages, wanted = append(messages, m), append(wanted, a)
	}
	for _, c := range []sql.Config{
		{Table: "texts", Columns: map[string]string{"a": "{payload.a}", "b": "{topic}"}},
		{Insert: "insert into texts (a, b) values (:payload.a, :topic)"},
		{Insert: "insert into texts (a, b) values (concat('', " + w.either(":payload.a", ":payload.a::text") + "), " + w.either("concat(:topic, '')", ":topic || ''") + ")"},
	} {
		w.run(t, "delete from texts")
		w.send(t, w.target(t, c), messages...)
		rows := w.run(t, "select a, b from texts order by id")
		if len(rows) != len(wanted) {
			t.Fatalf("%d rows, want %d", len(rows), len(wanted))
		}
		for i, row := range rows {
			if string(row[0]) != wanted[i] || string(row[1]) != "device/"+wanted[i] {
				t.Errorf("%q has arrived as %q, %q", wanted[i], row[0], row[1])
			}
		}
	}
	// As names of tables.
	c := sql.Config{Table: "t_{payload.a}", Create: true, MaxTables: 1000}
	target := w.target(t, c)
	var named []*message.Message
	for _, m := range messages {
		var v route.View
		v.Reset(m)
		if err := target.Prepare(&v, new(pump.Record)); err == nil {
			named = append(named, m)
		}
	}
	if len(named) < 20 {
		t.Errorf("only %d names can be those of tables", len(named))
	}
	w.send(t, target, named...)
	tables := w.run(t, "select table_name from information_schema.tables where table_name like 't\\_%'")
	if len(tables) != len(named) {
		t.Errorf("%d tables, want %d: %s", len(tables), len(named), shown(tables))
	}
	w.run(t, "select * from victim")
}

// The server's refusal of one record among many is found, and what is before it is written.
func (w *values) refused(t *testing.T) {
	w.run(t, "create table refused (n int not null, s varchar(3), u int unique, constraint small check (n < 1000))")
	columns := map[string]string{"n": "{payload.n}", "s": "{payload.s?}", "u": "{payload.u?}"}
	statement := "insert into refused (n, s, u) values (:payload.n, :payload.s?, :payload.u?)"
	for _, c := range []sql.Config{{Table: "refused", Columns: columns}, {Insert: statement}} {
		target := w.target(t, c)
		for _, bad := range []string{
			`{"n":"x"}`, `{"n":null}`, `{"n":1,"s":"long"}`, `{"n":1000}`, `{"n":1,"u":5}`, `{"n":9999999999}`, `{"n":{}}`,
		} {
			if bad == `{"n":null}` {
				continue // refused before it is sent, by the template
			}
			for _, at := range []int{0, 13, 49} {
				w.run(t, "delete from refused")
				w.run(t, "insert into refused (n, u) values (0, 5)")
				texts := make([]string, 50)
				for i := range texts {
					texts[i] = fmt.Sprintf(`{"n":%d}`, i+1)
				}
				texts[at] = bad
				records := prepare(t, target, payloads(texts...)...)
				done, err := target.Send(t.Context(), records)
				if done != at || !pump.IsRefused(err) {
					t.Fatalf("%s at %d: %d are done, %v", bad, at, done, err)
				}
				if got := shown(w.run(t, "select count(*) from refused")); got != fmt.Sprintln(at+1) {
					t.Fatalf("%s at %d: %s rows", bad, at, got)
				}
				if done, err := target.Send(t.Context(), records[at+1:]); err != nil || done != len(records)-at-1 {
					t.Fatalf("those behind it: %d, %v", done, err)
				}
			}
		}
	}
	if !w.mySQL {
		w.run(t, "create table texts_only (s text)")
		target := w.target(t, sql.Config{Table: "texts_only", Columns: map[string]string{"s": "{payload}"}})
		for _, bad := range []string{"\xff", "a\x00b"} {
			if done, err := target.Send(t.Context(), prepare(t, target, payloads("good", bad, "good")...)); done != 1 || !pump.IsRefused(err) {
				t.Errorf("%q: %d are done, %v", bad, done, err)
			}
		}
	}
}

// What is wrong with the configuration stops a sink; what is wrong with the server does not.
func (w *values) kinds(t *testing.T) {
	w.run(t, "create table kinds (a int)")
	w.run(t, w.either(
		"create user reader@localhost identified by 'x'; grant select on test.* to reader@localhost; create user one@localhost identified by 'x' with max_user_connections 1; grant all on test.* to one@localhost",
		"create user reader; create user one connection limit 0; create user standby; alter user standby set default_transaction_read_only = on; "+
			"grant insert on kinds to standby"))
	secret := setting.NewSecret("x")
	for name, c := range map[string]struct {
		config        sql.Config
		misconfigured bool
	}{
		"no table":     {sql.Config{Table: "nowhere"}, true},
		"no schema":    {sql.Config{Table: "nowhere.kinds"}, true},
		"no column":    {sql.Config{Table: "kinds", Columns: map[string]string{"b": "{payload.a}"}}, true},
		"syntax":       {sql.Config{Insert: "insert into kinds values (:payload.a) on sunday"}, true},
		"too few":      {sql.Config{Insert: "insert into kinds values (:payload.a, 1)"}, true},
		"no database":  {sql.Config{Table: "kinds", Database: "nowhere"}, true},
		"no user":      {sql.Config{Table: "kinds", User: "nobody"}, true},
		"no right":     {sql.Config{Table: "kinds", Columns: map[string]string{"a": "{payload.a}"}, User: "reader", Password: secret}, true},
		"no unique":    {sql.Config{Table: "kinds", Columns: map[string]string{"a": "{payload.a}"}, Upsert: []string{"a"}}, !w.mySQL},
		"a standby":    {sql.Config{Table: "kinds", Columns: map[string]string{"a": "{payload.a}"}, User: "standby"}, false},
		"connections":  {sql.Config{Table: "kinds", Columns: map[string]string{"a": "{payload.a}"}, User: "one", Password: secret}, false},
		"a wrong port": {sql.Config{Table: "kinds"}, false},
	} {
		if w.mySQL && (name == "a standby" || name == "no unique") {
			continue // it has none such; it takes any unique key
		}
		c.config.Addresses = []string{w.address()}
		if name == "a wrong port" {
			c.config.Addresses = []string{"127.0.0.1:1"}
		}
		target := w.open(t, c.config, options(pump.Options{}))
		if name == "connections" && w.mySQL { // one connection is there
			w.send(t, w.target(t, c.config), payloads(`{"a":1}`)...)
		}
		done, err := target.Send(t.Context(), prepare(t, target, payloads(`{"a":1}`, `{"a":2}`)...))
		target.Close()
		if done != 0 || err == nil || pump.IsRefused(err) || pump.IsMisconfigured(err) != c.misconfigured {
			t.Errorf("%s: %d are done, %v", name, done, err)
		}
	}
}

// An upsert changes the row of the same key, also if a batch has several of it.
func (w *values) upsert(t *testing.T) {
	w.run(t, "create table ups (device varchar(20) primary key, t double precision, n int default 1)")
	target := w.target(t, sql.Config{
		Table: "ups", Columns: map[string]string{"device": "{payload.d}", "t": "{payload.t}"}, Upsert: []string{"device"},
	})
	w.send(t, target, payloads(`{"d":"a","t":1}`, `{"d":"b","t":2}`, `{"d":"a","t":3}`)...)
	w.send(t, target, payloads(`{"d":"c","t":4}`, `{"d":"b","t":5}`)...)
	if got := shown(w.run(t, "select device, t, n from ups order by device")); got != "a|3|1\nb|5|1\nc|4|1\n" {
		t.Errorf("upserted: %s", got)
	}
	// One that the user has written, and that does not only set.
	target = w.target(t, sql.Config{Insert: "insert into ups (device, t) values (:payload.d, :payload.t) " +
		w.either("on duplicate key update t = values(t), n = n + 1", "on conflict (device) do update set t = excluded.t, n = ups.n + 1")})
	w.send(t, target, payloads(`{"d":"a","t":6}`, `{"d":"a","t":7}`, `{"d":"d","t":8}`, `{"d":"a","t":9}`)...)
	if got := shown(w.run(t, "select device, t, n from ups order by device")); got != "a|9|4\nb|5|1\nc|4|1\nd|8|1\n" {
		t.Errorf("with the user's statement: %s", got)
	}
}

// Statements that are not only a group of values.
func (w *values) statements(t *testing.T) {
	w.run(t, "create table st (a int, b text)")
	for _, s := range []string{
		"insert into st (a, b) select :payload.a" + w.either("", "::int") + ", b from (select 'x' as b) y",
		"insert into st (a, b) values (:payload.a" + w.either(" * 1", "::int * 1") + ", upper('x;:y'))",
		w.either("replace", "insert") + " into st (a, b) values (abs(:payload.a" + w.either("", "::int") + "), :content_type);",
	} {
		w.run(t, "delete from st")
		w.send(t, w.target(t, sql.Config{Insert: s}), payloads(`{"a":1}`, `{"a":2}`, `{"a":3}`)...)
		if got := shown(w.run(t, "select a from st order by a")); got != "1\n2\n3\n" {
			t.Errorf("%s: %s", s, got)
		}
	}
}

// Messages name tables: what does not fit in one refuses the message, and never stops the sink.
func (w *values) tables(t *testing.T) {
	w.run(t, "create table site_other (a int)")
	target := w.target(t, sql.Config{Table: "site_{payload.a}", Create: true})
	records := prepare(t, target, payloads(`{"a":"x"}`, `{"a":"y"}`, `{"a":"other"}`, `{"a":"x"}`)...)
	done, err := target.Send(t.Context(), records)
	if done != 2 || !pump.IsRefused(err) {
		t.Fatalf("%d are done, %v", done, err)
	}
	if done, err := target.Send(t.Context(), records[3:]); done != 1 || err != nil {
		t.Fatalf("%d are done, %v", done, err)
	}
	// Repetitions are skipped, and a table that was dropped is created again.
	if done, err := target.Send(t.Context(), records[:2]); done != 2 || err != nil {
		t.Fatalf("%d are done, %v", done, err)
	}
	if got := shown(w.run(t, "select place from site_x order by place")); got != "1\n4\n" {
		t.Errorf("site_x has %s", got)
	}
	w.run(t, "drop table site_x")
	if done, err := target.Send(t.Context(), records[:1]); done != 0 || err == nil || pump.IsRefused(err) || pump.IsMisconfigured(err) {
		t.Errorf("the table was dropped: %d, %v", done, err)
	}
	if done, err := target.Send(t.Context(), records[:1]); done != 1 || err != nil {
		t.Errorf("the table is created again: %d, %v", done, err)
	}
	target = w.target(t, sql.Config{Table: "nosite_{payload.a}"})
	if done, err := target.Send(t.Context(), prepare(t, target, payloads(`{"a":"x"}`)...)); done != 0 || !pump.IsRefused(err) {
		t.Errorf("a table that is not there: %d, %v", done, err)
	}
}

// A process that was thought to be dead writes nothing twice.
func (w *values) twoProcesses(t *testing.T) {
	w.run(t, "create table two (place bigint, s text)")
	c := sql.Config{
		Table: "two", Columns: map[string]string{"place": "{place}", "s": "{payload.s?}"}, Transactional: true, Addresses: []string{w.address()},
	}
	open := func() pump.Transactional {
		target := w.open(t, c, options(pump.Options{Node: 3, Stream: "all", Name: "two"}))
		t.Cleanup(target.Close)
		return target.(pump.Transactional)
	}
	place := func(of pump.Transactional, want uint64, wantKnown bool) {
		t.Helper()
		if got, known, err := of.Place(t.Context()); got != want || known != wantKnown || err != nil {
			t.Fatalf("place %d, %v, %v; want %d", got, known, err, want)
		}
	}
	later := func(err error) {
		t.Helper()
		if err == nil || pump.IsRefused(err) || pump.IsMisconfigured(err) {
			t.Fatalf("want an error that means later, not %v", err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	old, young := open(), open()
	place(old, 0, false)
	place(young, 0, false)
	texts := make([]string, 20)
	for i := range texts {
		texts[i] = `{}`
	}
	records := prepare(t, old, payloads(texts...)...)
	must(old.SendUpTo(t.Context(), nil, 1)) // as the first of all does
	later(young.SendUpTo(t.Context(), nil, 1))
	place(young, 1, true)
	must(old.SendUpTo(t.Context(), records[:10], 11))
	later(young.SendUpTo(t.Context(), records[:15], 16))
	place(young, 11, true)
	must(young.SendUpTo(t.Context(), records[:15], 16)) // of these it has ten
	later(old.SendUpTo(t.Context(), records[10:20], 21))
	must(young.SendUpTo(t.Context(), records[15:20], 21))
	place(old, 21, true)
	if got := shown(w.run(t, "select count(*), count(distinct place) from two")); got != "20|20\n" {
		t.Errorf("rows: %s", got)
	}
	// A refused record is named, and nothing is written.
	w.run(t, "delete from two")
	w.run(t, "alter table two add constraint short check (length(s) < 5)")
	for i := range texts {
		texts[i] = `{"s":"fits"}`
	}
	texts[6], texts[11] = `{"s":"does not"}`, `{"s":"does not"}`
	records = prepare(t, old, payloads(texts...)...)
	for _, r := range records {
		r.Place += 20
	}
	if err := old.SendUpTo(t.Context(), records, 41); !pump.IsRefused(err) {
		t.Fatalf("want a record to be refused: %v", err)
	}
	place(old, 21, true)
	if got := shown(w.run(t, "select count(*) from two")); got != "0\n" {
		t.Errorf("rows: %s", got)
	}
}

// A large payload arrives, or is refused by the server's bounds.
func (w *values) large(t *testing.T) {
	target := w.target(t, sql.Config{Table: "large", Create: true})
	big := strings.Repeat("x", 200<<10)
	w.send(t, target, payloads(big, "small", big, big, big, big, big, big)...) // together more than a packet
	if got := shown(w.run(t, "select sum(length(payload)) from large")); got != fmt.Sprintln(7*200<<10+5) {
		t.Errorf("%s bytes", got)
	}
	if w.mySQL {
		done, err := target.Send(t.Context(), prepare(t, target, payloads("small", strings.Repeat("x", 2<<20), "small")...))
		if done != 1 || !pump.IsRefused(err) {
			t.Errorf("a payload larger than a packet: %d, %v", done, err)
		}
	}
}

// A row that another transaction holds makes the sink wait, not stop.
func (w *values) locked(t *testing.T) {
	w.run(t, "create table locked (a int primary key, b int)")
	target := w.target(t, sql.Config{
		Table: "locked", Columns: map[string]string{"a": "{payload.a}", "b": "{payload.a}"}, Upsert: []string{"a"}, Timeout: time.Second,
	})
	w.send(t, target, payloads(`{"a":1}`)...)
	release := w.hold(t, "update locked set b = 2 where a = 1")
	if done, err := target.Send(t.Context(), prepare(t, target, payloads(`{"a":1}`)...)); done != 0 || err == nil || pump.IsRefused(err) || pump.IsMisconfigured(err) {
		t.Errorf("while the row is locked: %d, %v", done, err)
	}
	release()
	w.send(t, target, payloads(`{"a":1}`)...)
}
