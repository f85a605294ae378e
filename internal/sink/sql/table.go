package sql

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/longline/longline/internal/route"
)

// table is a table that the sink writes to.
type table struct {
	// Static after construction.
	name   string // in quotes
	insert *insert
	copy   []string // columns, in quotes; nil unless PostgreSQL's COPY does what insert does
	skips  bool     // insert skips rows that are there, which COPY does not
	key    []int    // the values that an upsert finds a row by
	create string   // the statement that creates it, or empty

	// Safe from any goroutine.
	exists atomic.Bool // it need not be created
}

// mySQLTable is behind the columns of a created table of MySQL, whose defaults may be others.
const mySQLTable = " engine = InnoDB default character set utf8mb4"

// layout says which tables and columns a configuration has.
type layout struct {
	lang    language
	schema  *route.Template // nil if the name has none
	table   *route.Template
	columns []string         // in quotes
	values  []route.Template // of the columns; nil for the default columns
	upsert  []int            // the columns that an upsert finds a row by
	create  string           // the type of the payload in a created table, or empty
}

// The columns of the default schema. The first keyColumns of them are the key: the time is in it because a stream that begins anew counts
// its places from 1 again.
var defaultColumns = []string{"node", "stream", "place", "time", "source", "topic", "content_type", "payload"}

const keyColumns = 4

// The values of Config.PayloadType.
const (
	payloadBytes = "bytes"
	payloadText  = "text"
	payloadJSON  = "json"
)

// columnTypes are those of the default columns but for the payload, and those of the payload.
var columnTypes = map[language][]string{
	postgres: {
		"integer not null", "text not null", "bigint not null", "timestamptz(3) not null", "text not null", "text not null", "text not null",
	},
	mySQL: {
		"int not null", "varchar(64) character set ascii collate ascii_bin not null", "bigint not null", "datetime(3) not null", "text not null",
		"text not null", "text not null",
	},
}

var payloadTypes = map[language]map[string]string{
	postgres: {payloadBytes: "bytea", payloadText: "text", payloadJSON: "jsonb"},
	mySQL:    {payloadBytes: "longblob", payloadText: "longtext", payloadJSON: "json"},
}

// newLayout returns the layout of a configuration that names a table. Errors begin with the key.
func newLayout(lang language, c *Config) (*layout, error) {
	l := &layout{lang: lang}
	if err := l.parseName(c.Table); err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	names := defaultColumns
	if len(c.Columns) > 0 {
		if len(c.Columns) > maxColumns {
			return nil, fmt.Errorf("columns: want at most %d", maxColumns)
		}
		names = slices.Sorted(maps.Keys(c.Columns))
		for _, name := range names {
			t, err := route.ParseTemplate(c.Columns[name])
			if err != nil {
				return nil, fmt.Errorf("columns.%s: %w", name, err)
			}
			l.values = append(l.values, t)
		}
	}
	for _, name := range names {
		inQuotes, err := quote(lang, name)
		if err != nil {
			return nil, fmt.Errorf("columns: %q: %w", name, err)
		}
		l.columns = append(l.columns, inQuotes)
	}
	for _, name := range c.Upsert {
		i := slices.Index(names, name)
		if i < 0 {
			return nil, fmt.Errorf("upsert: there is no column %q", name)
		}
		l.upsert = append(l.upsert, i)
	}
	if c.Create {
		l.create = payloadTypes[lang][c.PayloadType]
	}
	return l, nil
}

var errPrefix = errors.New("want a text in front of the first {…}, such as t_{payload.site}, so that messages cannot name other tables")

// parseName parses the name of a table, perhaps behind that of a schema and a point.
func (l *layout) parseName(text string) error {
	schema, name, found := cutPoint(text)
	if !found {
		schema, name = "", text
	} else if schema == "" {
		return errors.New("want the name of a schema in front of the point")
	}
	for _, part := range []struct {
		text string
		to   **route.Template
	}{{schema, &l.schema}, {name, &l.table}} {
		if part.text == "" && part.to == &l.schema {
			continue
		}
		t, err := route.ParseTemplate(part.text)
		if err != nil {
			return err
		}
		if strings.HasPrefix(part.text, "{") && !strings.HasPrefix(part.text, "{{") {
			return errPrefix
		}
		if t.Literal() {
			plain, _ := t.Render(nil)
			if _, err := quote(l.lang, plain); err != nil {
				return err
			}
		}
		*part.to = &t
	}
	return nil
}

// cutPoint cuts a template at its first point outside of braces.
func cutPoint(text string) (before, after string, found bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{':
			if strings.HasPrefix(text[i:], "{{") {
				i++
			} else if n := closing(text[i:], '}'); n > 0 {
				i += n - 1
			}
		case '.':
			return text[:i], text[i+1:], true
		}
	}
	return text, "", false
}

// literal reports whether there is one table.
func (l *layout) literal() bool { return l.table.Literal() && (l.schema == nil || l.schema.Literal()) }

// name returns the name of the table of a message, in quotes.
func (l *layout) name(v *route.View) (string, error) {
	name, err := l.part(v, l.table)
	if err != nil || l.schema == nil {
		return name, err
	}
	schema, err := l.part(v, l.schema)
	return schema + "." + name, err
}

func (l *layout) part(v *route.View, t *route.Template) (string, error) {
	text, err := t.AtMost(longestName * utf8.UTFMax).Render(v)
	if err != nil {
		return "", err
	}
	inQuotes, err := quote(l.lang, text)
	if err != nil {
		return "", fmt.Errorf("table %q: %w", text, err)
	}
	return inQuotes, nil
}

// longestName is that of a name in PostgreSQL, in bytes: it would cut longer ones, so that two names could be the same. MySQL has one character
// more.
const longestName = 63

var errName = fmt.Errorf("want a name of 1 to %d bytes in UTF-8, without control characters and without a blank at its end", longestName)

// quote returns a name in quotes: whatever it has in it, for the server it is one name.
func quote(lang language, name string) (string, error) {
	if name == "" || len(name) > longestName || !utf8.ValidString(name) || strings.HasSuffix(name, " ") ||
		strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r > 0xffff && lang == mySQL }) {
		return "", errName
	}
	mark := `"`
	if lang == mySQL {
		mark = "`"
	}
	return mark + strings.ReplaceAll(name, mark, mark+mark) + mark, nil
}

// make returns the table with this name, which is in quotes.
func (l *layout) make(name string) *table {
	s := &insert{head: fragments{{"insert into " + name + " (" + strings.Join(l.columns, ", ") + ") values ", -1}}}
	for i := range l.columns {
		text := ", "
		if i == 0 {
			text = "("
		}
		s.group = append(s.group, fragment{text, i})
	}
	s.group = append(s.group, fragment{")", -1})
	conflict := l.conflict()
	if conflict != "" {
		s.tail = fragments{{conflict, -1}}
	}
	s.bound()
	t := &table{name: name, insert: s, key: l.upsert, skips: conflict != ""}
	if l.lang == postgres && len(l.upsert) == 0 {
		t.copy = l.columns
	}
	if l.create != "" {
		t.create = l.createStatement(name)
	}
	return t
}

// conflict returns what an INSERT does with a row that is there already.
func (l *layout) conflict() string {
	key := l.upsert
	if len(key) == 0 {
		if l.values != nil {
			return ""
		}
		key = []int{0, 1, 2, 3}
	}
	var set []string
	for i, c := range l.columns {
		switch {
		case len(l.upsert) == 0 || slices.Contains(key, i):
		case l.lang == postgres:
			set = append(set, c+" = excluded."+c)
		default:
			set = append(set, c+" = values("+c+")")
		}
	}
	first := l.columns[key[0]]
	switch {
	case l.lang == mySQL && len(set) == 0:
		// INSERT IGNORE would hide other errors as well.
		return " on duplicate key update " + first + " = " + first
	case l.lang == mySQL:
		return " on duplicate key update " + strings.Join(set, ", ")
	}
	names := make([]string, len(key))
	for i, k := range key {
		names[i] = l.columns[k]
	}
	on := " on conflict (" + strings.Join(names, ", ") + ")"
	if len(set) == 0 {
		return on + " do nothing"
	}
	return on + " do update set " + strings.Join(set, ", ")
}

// createStatement returns the statement that creates a table of the default schema.
func (l *layout) createStatement(name string) string {
	var b strings.Builder
	b.WriteString("create table if not exists " + name + " (")
	for i, c := range l.columns {
		typ := l.create + " not null"
		if i < len(defaultColumns)-1 {
			typ = columnTypes[l.lang][i]
		}
		b.WriteString(c + " " + typ + ", ")
	}
	b.WriteString("primary key (" + strings.Join(l.columns[:keyColumns], ", ") + "))")
	if l.lang == mySQL {
		b.WriteString(mySQLTable)
	}
	return b.String()
}
