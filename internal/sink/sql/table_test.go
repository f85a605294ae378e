package sql

import (
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

// view returns the view of a message as a route without changes leaves it.
func view(t testing.TB, m *message.Message) *route.View {
	t.Helper()
	r, err := route.Open(route.Config{}.WithDefaults(), route.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := &route.View{Node: 3, Stream: "telemetry"}
	v.Reset(m)
	v.Place = 7
	if keep, err := r.Apply(v); !keep || err != nil {
		t.Fatal(keep, err)
	}
	return v
}

// telemetry returns a message with this payload.
func telemetry(payload string) *message.Message {
	return &message.Message{
		Topic: "device/m-7/telemetry", Source: "m-7", Payload: []byte(payload), ContentType: message.JSON, Time: time.Date(2026, 11, 27, 12, 0, 0, 5e6, time.UTC).UnixMilli(),
	}
}

func prepare(t testing.TB, target pump.Target, m *message.Message) (r pump.Record, err error) {
	t.Helper()
	err = target.Prepare(view(t, m), &r)
	return r, err
}

// openFor opens a target that contacts nobody.
func openFor(t testing.TB, lang language, c Config) *target {
	t.Helper()
	c.Database, c.User = "d", "u"
	c = c.withDefaults("127.0.0.1:1")
	if err := c.validate(lang); err != nil {
		t.Fatal(err)
	}
	opened, err := open(lang, &c, pump.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	return opened.(*target)
}

// The statements of the configuration's forms, for two records.
func TestStatements(t *testing.T) {
	device := map[string]string{"device": "{source}", "t": "{payload.t?}"}
	for _, c := range []struct {
		name   string
		lang   language
		config Config
		want   string
		copied bool
	}{
		{
			"default", postgres, Config{Table: "public.telemetry"},
			`insert into "public"."telemetry" ("node", "stream", "place", "time", "source", "topic", "content_type", "payload") values ` +
				`($1, $2, $3, $4, $5, $6, $7, $8), ($9, $10, $11, $12, $13, $14, $15, $16) on conflict ("node", "stream", "place", "time") do nothing`, false,
		},
		{
			"default", mySQL, Config{Table: "telemetry"},
			"insert into `telemetry` (`node`, `stream`, `place`, `time`, `source`, `topic`, `content_type`, `payload`) values " +
				"(?, ?, ?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?, ?, ?) on duplicate key update `node` = `node`", false,
		},
		{
			"transactional", postgres, Config{Table: "t", Columns: device, Transactional: true},
			`insert into "t" ("device", "t") values ($1, $2), ($3, $4)`, true,
		},
		{"columns", postgres, Config{Table: "t", Columns: device}, `insert into "t" ("device", "t") values ($1, $2), ($3, $4)`, true},
		{
			"upsert", postgres, Config{Table: "t", Columns: device, Upsert: []string{"device"}},
			`insert into "t" ("device", "t") values ($1, $2), ($3, $4) on conflict ("device") do update set "t" = excluded."t"`, false,
		},
		{
			"upsert", mySQL, Config{Table: "t", Columns: device, Upsert: []string{"device"}},
			"insert into `t` (`device`, `t`) values (?, ?), (?, ?) on duplicate key update `t` = values(`t`)", false,
		},
		{
			"upsert of nothing", postgres, Config{Table: "t", Columns: device, Upsert: []string{"device", "t"}},
			`insert into "t" ("device", "t") values ($1, $2), ($3, $4) on conflict ("device", "t") do nothing`, false,
		},
	} {
		c.config.Database, c.config.User = "d", "u"
		c.config = c.config.withDefaults("127.0.0.1:1")
		if err := c.config.validate(c.lang); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		l, err := newLayout(c.lang, &c.config)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		name, err := l.name(nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		made := l.make(name)
		if got := made.insert.text(c.lang, 2); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
		if (made.copy != nil && !made.skips) != c.copied {
			t.Errorf("%s: copied %v, skips %v", c.name, made.copy, made.skips)
		}
	}
}

// What a message names is one name in quotes, or is refused.
func TestTableNames(t *testing.T) {
	for _, c := range []struct{ site, postgres, mySQL string }{
		{"berlin", `"s"."t_berlin"`, "`s`.`t_berlin`"},
		{`x"; drop table t; --`, `"s"."t_x""; drop table t; --"`, "`s`.`t_x\"; drop table t; --`"},
		{"x`y", "\"s\".\"t_x`y\"", "`s`.`t_x``y`"},
		{"a.b", `"s"."t_a.b"`, "`s`.`t_a.b`"},
		{`\`, `"s"."t_\"`, "`s`.`t_\\`"},
		{"ü", `"s"."t_ü"`, "`s`.`t_ü`"},
		{"\U0001F600", "\"s\".\"t_\U0001F600\"", ""},
		{strings.Repeat("x", 61), `"s"."t_` + strings.Repeat("x", 61) + `"`, "`s`.`t_" + strings.Repeat("x", 61) + "`"},
		{strings.Repeat("x", 62), "", ""}, // PostgreSQL would cut it
		{"x ", "", ""},
		{"x\x00y", "", ""},
		{"x\ny", "", ""},
	} {
		for lang, want := range map[language]string{postgres: c.postgres, mySQL: c.mySQL} {
			target := openFor(t, lang, Config{Table: "s.t_{property.site}"})
			m := telemetry("{}")
			m.Properties = []message.Property{{Key: "site", Value: c.site}}
			r, err := prepare(t, target, m)
			if (err != nil) != (want == "") || err == nil && r.To != want {
				t.Errorf("%q: %s, %v, want %s", c.site, r.To, err, want)
			}
		}
	}
}

// Messages cannot make a sink write to more tables than it may.
func TestMaxTables(t *testing.T) {
	target := openFor(t, postgres, Config{Table: "t_{payload.a}", MaxTables: 2})
	for i, c := range []struct {
		payload string
		ok      bool
	}{{`{"a":1}`, true}, {`{"a":2}`, true}, {`{"a":3}`, false}, {`{"a":1}`, true}, {`{"a":4}`, false}} {
		if _, err := prepare(t, target, telemetry(c.payload)); (err == nil) != c.ok {
			t.Errorf("message %d: %v", i, err)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	base := func(change func(*Config)) Config {
		c := Config{Database: "d", User: "u", Table: "t"}
		change(&c)
		return c.withDefaults("127.0.0.1:1")
	}
	for want, change := range map[string]func(*Config){
		"database: ":                      func(c *Config) { c.Database = "" },
		"user: ":                          func(c *Config) { c.User = "" },
		"addresses: want host and port":   func(c *Config) { c.Addresses = []string{"db"} },
		"table: want table or insert":     func(c *Config) { c.Insert = "insert into t values (:source)" },
		"table: want a text in front":     func(c *Config) { c.Table = "{payload.a}" },
		"table: want the name of a":       func(c *Config) { c.Table = ".t" },
		"table: want a name":              func(c *Config) { c.Table = "s." },
		"table: template ":                func(c *Config) { c.Table = "t_{x}" },
		"columns.a: template":             func(c *Config) { c.Columns = map[string]string{"a": "{x}"} },
		`columns: "": want a name`:        func(c *Config) { c.Columns = map[string]string{"": "{source}"} },
		`upsert: there is no column "b"`:  func(c *Config) { c.Columns, c.Upsert = map[string]string{"a": "{source}"}, []string{"b"} },
		"create: want no columns":         func(c *Config) { c.Columns, c.Create = map[string]string{"a": "{source}"}, true },
		"insert: want columns, upsert":    func(c *Config) { c.Table, c.Insert, c.Create = "", "insert into t values (:source)", true },
		"insert: character 23: template":  func(c *Config) { c.Table, c.Insert = "", "insert into t values (:x)" },
		"payload_type: want one of bytes": func(c *Config) { c.PayloadType = "xml" },
		"max_tables: ":                    func(c *Config) { c.MaxTables = -1 },
		"timeout: ":                       func(c *Config) { c.Timeout = 1 },
		"tls.enabled: ":                   func(c *Config) { c.TLS.CA = "x" },
		"tls.cert: ":                      func(c *Config) { c.TLS.Enabled, c.TLS.Cert = true, "x" },
	} {
		c := base(change)
		if err := c.validate(postgres); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The last row of each key is left; NULL is no key.
func TestLastOfEach(t *testing.T) {
	rows := [][]any{{"a", 1}, {"b", 2}, {nil, 3}, {"a", 4}, {nil, 5}, {"b", 6}, {"c", 7}}
	var got []int
	for _, row := range lastOfEach(rows, []int{0}) {
		got = append(got, row[1].(int))
	}
	want := []int{3, 4, 5, 6, 7}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

// The default columns.
func TestDefaultValues(t *testing.T) {
	m := telemetry(`{"t":21.5}`)
	r, err := prepare(t, openFor(t, postgres, Config{Table: "t", Create: true}), m)
	if err != nil {
		t.Fatal(err)
	}
	want := []any{int64(3), "telemetry", int64(7), m.Time, "m-7", m.Topic, message.JSON, string(m.Payload)}
	for i, x := range r.Values {
		switch y := x.(type) {
		case time.Time:
			x = y.UnixMilli()
		case []byte:
			x = string(y)
		}
		if x != want[i] {
			t.Errorf("%s is %v, want %v", defaultColumns[i], x, want[i])
		}
	}
	if r.To != `"t"` {
		t.Errorf("to %s", r.To)
	}
}
