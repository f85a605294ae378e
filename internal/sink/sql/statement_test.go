package sql

import (
	"slices"
	"strings"
	"testing"
)

// A statement for two records, and its parameters in their order.
func TestParseInsert(t *testing.T) {
	for _, c := range []struct {
		lang       language
		text, want string
		parameters []string // templates of the first row's; those of the statement for two records are these twice, if it is repeated
		rows       int
	}{
		{
			postgres, "insert into t (a, b) values (:source, :payload.a.b)",
			"insert into t (a, b) values ($1, $2), ($3, $4)",
			[]string{"{source}", "{payload.a.b}"}, 512,
		},
		{
			mySQL, "REPLACE INTO `t` VALUES (:time, :topic[1] , :payload[\"x y]\"].z?);  ",
			"REPLACE INTO `t` VALUES (?, ? , ?), (?, ? , ?)",
			[]string{"{time}", "{topic[1]}", `{payload["x y]"].z?}`}, 512,
		},
		{
			postgres, "insert into t values (:payload.t::text::jsonb, ':source', \"a\"\":b\", $$:x$$, $q$ $$ :x $q$, E'\\':x', 'a\\', a[1:2])",
			"insert into t values ($1::text::jsonb, ':source', \"a\"\":b\", $$:x$$, $q$ $$ :x $q$, E'\\':x', 'a\\', a[1:2]), " +
				"($2::text::jsonb, ':source', \"a\"\":b\", $$:x$$, $q$ $$ :x $q$, E'\\':x', 'a\\', a[1:2])",
			[]string{"{payload.t}"}, 512,
		},
		{
			postgres, "insert into t -- :no values (\n values /* :a /* :b */ */ (:source) on conflict do nothing",
			"insert into t   values   ($1), ($2) on conflict do nothing",
			[]string{"{source}"}, 512,
		},
		{
			mySQL, "insert into t values (:source, 1--1, '\\':x', \"it\\\"s :y\", `a``:z`) # :no\n on duplicate key update a = values(a) -- :no",
			"insert into t values (?, 1--1, '\\':x', \"it\\\"s :y\", `a``:z`), (?, 1--1, '\\':x', \"it\\\"s :y\", `a``:z`)   on duplicate key update a = values(a)",
			[]string{"{source}"}, 512,
		},
		{ // a parameter behind the group cannot be that of two records
			postgres, "insert into t values (:source) on conflict (a) do update set b = :payload.b",
			"", []string{"{source}", "{payload.b}"}, 1,
		},
		{ // a row that is updated twice is an error in PostgreSQL
			postgres, "insert into t values (:source) on conflict (a) do /* */ update set n = t.n + 1", "", []string{"{source}"}, 1,
		},
		{mySQL, "insert into t set a = :source", "", []string{"{source}"}, 1},
		{postgres, "insert into t select x from u where y = :source", "", []string{"{source}"}, 1},
		{
			postgres, "insert into t values (greatest(:payload.a, :payload.b), :payload.a, :{time:2006-01-02}, :{topic[1:]})",
			"insert into t values (greatest($1, $2), $3, $4, $5), (greatest($6, $7), $8, $9, $10)",
			[]string{"{payload.a}", "{payload.b}", "{payload.a}", "{time:2006-01-02}", "{topic[1:]}"}, 512,
		},
		{mySQL, "insert into t values (:topic, @x := 3)", "insert into t values (?, @x := 3), (?, @x := 3)", []string{"{topic}"}, 512},
	} {
		s, templates, err := parseInsert(c.lang, c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if s.rows != c.rows {
			t.Errorf("%s: %d rows, want %d", c.text, s.rows, c.rows)
		}
		row := make([]any, len(templates))
		for i, each := range templates {
			row[i] = each.String()
		}
		records := min(2, s.rows)
		var got []string
		s.parameters(slices.Repeat([][]any{row}, records), func(x any) { got = append(got, x.(string)) })
		if want := slices.Repeat(c.parameters, records); !slices.Equal(got, want) {
			t.Errorf("%s: parameters %q, want %q", c.text, got, want)
		}
		if text := s.text(c.lang, records); c.want != "" && text != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.text, text, c.want)
		}
	}
}

func TestParseInsertRefuses(t *testing.T) {
	for _, c := range []struct {
		lang       language
		text, want string
	}{
		{postgres, "", "want an INSERT"},
		{postgres, "delete from t where a = :source", "want an INSERT"},
		{postgres, "replace into t values (:source)", "want an INSERT"},
		{postgres, "insert into t values (1)", "want 1 to 1000 parameters"},
		{postgres, "insert into t values (:source), (:topic)", "character 31: want one group"},
		{postgres, "insert into t values (:source); drop table t", "character 31: want one statement"},
		{postgres, "insert into t values ($1)", "character 23: want parameters by name"},
		{mySQL, "insert into t values (?)", "character 23: want parameters by name"},
		{postgres, "insert into t values (:sauce)", "character 23: template \"{sauce}\""},
		{postgres, "insert into t values (:source, 'a)", "character 32: a text, a name or a comment begins"},
		{postgres, "insert into t values (:source) /* /* */", "character 32: a text, a name or a comment begins"},
		{postgres, "insert into t values (:payload[\"a)", "character 23: a text, a name or a comment begins"},
		{postgres, "insert into t values (:source", "not closed"},
		{postgres, "insert into t values (:source))", "no parenthesis"},
		{mySQL, "insert /*!80000 ignore */ into t values (:source)", "character 8: want no comment that the server executes"},
		{mySQL, "insert into t values (:source, '\\')", "character 32: a text"},
		{postgres, "insert into t values (:source)" + strings.Repeat(" ", 64<<10), "want at most"},
	} {
		if _, _, err := parseInsert(c.lang, c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

// A statement never has more parameters than the protocols can count, and every record is in one.
func TestSplit(t *testing.T) {
	for _, parameters := range []int{1, 8, 1000} {
		var s insert
		for range parameters {
			s.group = append(s.group, fragment{",", 0})
		}
		s.bound()
		if s.rows < 2 || s.rows*parameters > 65_535 {
			t.Errorf("%d rows of %d parameters", s.rows, parameters)
		}
		for _, n := range []int{1, 2, 3, 500, 5000} {
			sum := 0
			for _, size := range s.split(n) {
				if sum += size; size > s.rows {
					t.Errorf("%d rows, want at most %d", size, s.rows)
				}
			}
			if sum != n {
				t.Errorf("%d of %d records", sum, n)
			}
		}
	}
}

// Whatever the statement, the tokens are all of it, and a parameter is never taken from a string, a comment or a name.
func FuzzLex(f *testing.F) {
	for _, s := range []string{
		"insert into t values (:source, 'it''s', E'\\'', \"a\", $a$ :x $a$) -- c\n/* /* */ */ ::text :payload[\"a]\"].b?",
		"`a` # c\n'\\'' :{time:2006}", "$", "$1", ":", "e'", "--", "/*", "U&'\\'",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, lang := range []language{postgres, mySQL} {
			tokens, err := lex(lang, text)
			if err != nil {
				continue
			}
			at := 0
			for i, token := range tokens {
				if token.at != at {
					t.Fatalf("%q: token %d is at %d, want %d", text, i, token.at, at)
				}
				at = len(text)
				if i+1 < len(tokens) {
					at = tokens[i+1].at
				}
				if whole := text[token.at:at]; token.kind != parameter && token.text != whole || whole == "" || token.kind == parameter && whole[0] != ':' {
					t.Fatalf("%q: token %d is %q of %q", text, i, token.text, whole)
				}
			}
			if s, templates, err := parseInsert(lang, text); err == nil {
				if len(templates) == 0 || s.text(lang, 1) == "" {
					t.Fatalf("%q: a statement without parameters", text)
				}
			}
		}
	})
}
