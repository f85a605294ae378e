package fleet

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBadRecordings(t *testing.T) {
	id129 := strings.Repeat("x", 129)
	for _, tt := range []struct {
		name, content, want string
		replay              Replay
	}{
		{name: "empty", content: "", want: "F is empty"},
		{name: "no rows", content: "id,t\n", want: "F has no rows"},
		{name: "no id column", content: "device,t\na,1\n", want: `F:1:1: there is no column "id"; the columns are: device, t`},
		{name: "no time column", content: "id,at\na,1\n", want: `F:1:1: there is no column "t"; the columns are: id, at`},
		{name: "other delimiter", content: "id;t\na;1\n", replay: Replay{Delimiter: ","}, want: `F:1:1: there is no column "id"; the columns are: id;t`},
		{name: "two of a name", content: "id,t,v,v\na,1,2,3\n", want: `F:1:8: two columns are named "v"`},
		{name: "nameless column", content: "id,,t\na,1,2\n", want: "F:1:4: column 2 has no name"},
		{name: "value of no column", content: "id,t,\na,1,2\n", want: "F:2:1: the row has 3 values, want 2"},
		{name: "name of no UTF-8", content: "id,t,\xe4\n", want: "F:1:6: the name of column 3 is not UTF-8: convert the file first"},
		{name: "value of no UTF-8", content: "id,t,v\na,1,\xe4\n", want: `F:2:5: "\xe4" is not UTF-8: convert the file first`},
		{name: "too few values", content: "id,t,v\na,1,2\na,1\n", want: "F:3:1: the row has 2 values, want 3"},
		{name: "too many values", content: "id,t\na,1,2\n", want: "F:2:1: the row has 3 values, want 2"},
		{name: "bare quote", content: "id,t\na,1\"2\n", want: `F:2:4: bare " in non-quoted-field`},
		{name: "open quote", content: "id,t\na,\"12\n", want: `F:2:7: extraneous or missing " in quoted-field`},
		{name: "no time", content: "id,t\na,soon\n", want: `F:2:3: "soon" is no time: want RFC 3339, 2006-01-02 15:04:05, Unix seconds, milliseconds or microseconds; or name the format`},
		{name: "another time", content: "id,t\na,2026-01-05 08:00:00\na,5\n", want: `F:3:3: "5" is no time: want a date and time without zone, such as 2016-01-01 00:00:00`},
		{name: "a time of no such format", content: "id,t\na,2026-01-05\n", replay: Replay{TimeFormat: "02.01.2006"}, want: `F:2:3: "2026-01-05" is no time: want the layout "02.01.2006"`},
		{name: "no id", content: "id,t\n,1\n", want: `F:2:1: "" is no device id: want 1 to 128 characters`},
		{name: "long id", content: "id,t\n" + id129 + ",1\n", want: `F:2:1: "` + id129 + `" is no device id: want 1 to 128 characters`},
		{name: "one id for two", content: "id,t\na b,1\na b,2\na/b,3\n", want: `F:4:1: "a/b" and "a b" would both be device "a_b"`},
		{name: "no JSON", content: "{\"id\":\"a\",\"t\":1}\n{\"id\":\"a\"\n", want: "F:2: the line is no JSON object"},
		{name: "null", content: "{\"id\":\"a\",\"t\":1}\n\nnull\n", want: "F:3: the line is no JSON object"},
		{name: "object without time", content: "{\"id\":\"a\"}\n", want: `F:1: member "t": there is none`},
		{name: "object with no id", content: "{\"id\":[1],\"t\":1}\n", want: `F:1: member "id": [1] is neither a string nor a number`},
		{name: "object with no UTF-8", content: "{\"id\":\"\xe4\"}\n", want: "F:1: the line is not UTF-8: convert the file first"},
		{name: "object with another time", content: "{\"id\":1,\"t\":1}\n{\"id\":1,\"t\":\"soon\"}\n", want: `F:2: "soon" is no time: want Unix seconds, such as 1451606400`},
		{name: "endless line", content: "{" + strings.Repeat(" ", maxRow+headRoom), want: "F: a row is longer than 16777216 bytes; is a quote not closed?"},
		{name: "endless row", content: "id,t\na,\"" + strings.Repeat("x", maxRow+headRoom), want: "F: a row is longer than 16777216 bytes; is a quote not closed?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.replay
			file := filepath.Join(t.TempDir(), "F")
			r.Files, r.IDColumn, r.TimeColumn = []string{file}, "id", "t"
			if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := r.scan(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			if got := strings.ReplaceAll(err.Error(), file, "F"); got != tt.want {
				t.Errorf("error %s, want %s", got, tt.want)
			}
		})
	}
}

// The second pass reports errors that were not there in the first.
func TestRecordingThatChanged(t *testing.T) {
	g := newGateway(t, script{})
	replay := record(t, 3, "a")
	rec, err := replay.scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(replay.Files[0], []byte("id,t\na,1\nb,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := Config{Gateway: "ws://" + g.group.Addr().String(), Replay: replay}.withDefaults()
	report, err := run(t.Context(), config, rec, nil)
	if err == nil || !strings.HasSuffix(err.Error(), `has changed since it was checked: device "b" is new`) || report.Acknowledged != 1 {
		t.Errorf("%v, report: %+v", err, report)
	}
}

func TestFindDelimiter(t *testing.T) {
	for head, want := range map[string]rune{
		"a,b\n1;2;3":       ',',
		"a;b\n1,2,3":       ';',
		"a\tb":             '\t',
		`"a,b,c";d` + "\n": ';',
		"\"a\nb;c\",d\n":   ',',
		"alone\n":          ',',
	} {
		if got := findDelimiter([]byte(head)); got != want {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}

func TestTimeFormats(t *testing.T) {
	at := time.Date(2016, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		format, value string
		want          time.Time // zero means an error
	}{
		{"", "2016-01-01T00:00:00Z", at},
		{"", "2016-01-01T08:00:00+08:00", at},
		{"", "2016-01-01 08:00:00+08:00", at},
		{"", "2016-01-01T00:00:00.250Z", at.Add(250 * time.Millisecond)},
		{"", "2016-01-01 00:00:00", at},
		{"", "2016-01-01T00:00:00", at},
		{"", "2016-01-01 00:00:00.25", at.Add(250 * time.Millisecond)},
		{"", "1451606400", at},
		{"", "1451606400.25", at.Add(250 * time.Millisecond)},
		{"", "1451606400250", at.Add(250 * time.Millisecond)},
		{"", "-1.5", time.Unix(-2, 5e8)},
		{"unix", "1451606400", at},
		{"unix-ms", "1451606400", time.UnixMilli(1451606400)},
		{"02.01.2006 15:04", "01.01.2016 00:00", at},
		{"", "1e300", time.Time{}},
		{"", "NaN", time.Time{}},
		{"", "", time.Time{}},
		{"rfc3339", "2016-01-01 00:00:00", time.Time{}},
		{"datetime", "2016-01-01T00:00:00Z", time.Time{}},
		{"unix", "253402300800", time.Time{}},
	} {
		f, err := timeFormatNamed(tt.format)
		if err != nil {
			t.Fatal(err)
		}
		if f.parse == nil {
			f = detectTimeFormat(tt.value)
		}
		got, ok := f.parse(tt.value)
		if ok == tt.want.IsZero() || ok && !got.Equal(tt.want) {
			t.Errorf("%s %q: %v, %v, want %v", tt.format, tt.value, got, ok, tt.want)
		}
	}
}

func TestAppendValue(t *testing.T) {
	for _, tt := range []struct {
		value        string
		decimalComma bool
		want         string
	}{
		{"0", false, `0`}, {"-0.0", false, `-0.0`}, {"1.50", false, `1.50`}, {"6E+23", false, `6E+23`},
		{"01", false, `"01"`}, {"+1", false, `"+1"`}, {".5", false, `".5"`}, {"5.", false, `"5."`},
		{"0x1f", false, `"0x1f"`}, {" 1", false, `1`}, {"1 ", false, `1`}, {" a", false, `" a"`}, {" 1,5", true, `1.5`}, {"007", false, `"007"`}, {"1 2", false, `"1 2"`},
		{"NaN", false, `"NaN"`}, {"-", false, `"-"`}, {"true", false, `"true"`}, {"null", false, `"null"`},
		{"", false, `""`}, {"[1]", false, `"[1]"`}, {"12,5", false, `"12,5"`},
		{"12,5", true, `12.5`}, {"12.5", true, `"12.5"`}, {"7", true, `7`}, {"1,2,3", true, `"1,2,3"`},
		{"a,b", true, `"a,b"`}, {",5", true, `",5"`},
		{"\"\\\n\x00\x7f<é\u2028", false, `"\"\\\u000a\u0000` + "\x7f<é\u2028\""},
	} {
		if got := string(appendValue(nil, tt.value, tt.decimalComma)); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.value, got, tt.want)
		}
	}
}

// Whatever the file holds, each row becomes one JSON object, in which each column
// has its value.
func FuzzRows(f *testing.F) {
	for _, r := range recordings {
		b, err := os.ReadFile(r.replay.Files[0])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, r.replay.IDColumn, r.replay.TimeColumn, r.replay.DecimalComma)
	}
	f.Add([]byte("{\"a\":1,\"b\":2}\n\n{\"a\":\"x\",\"b\":\"3\"}"), "a", "b", false)
	f.Add([]byte("a,b\n\"1\r\n2\",3\n"), "a", "b", false)
	f.Add([]byte("a;b;\"c\"\"\\\"\n1;2;3,5\n"), "a", "b", true)
	f.Fuzz(func(t *testing.T, content []byte, id, at string, decimalComma bool) {
		if at == "" { // see validate
			return
		}
		r, err := newRows(&Replay{IDColumn: id, TimeColumn: at, DecimalComma: decimalComma}, "F", strings.NewReader(string(content)))
		if err != nil {
			return
		}
		names := append([]string(nil), r.values...)
		for {
			err := r.next()
			if errors.Is(err, io.EOF) || err != nil {
				return
			}
			if r.lines != nil {
				if !json.Valid(r.json()) {
					t.Fatalf("%s is no JSON", r.json())
				}
				continue
			}
			var object map[string]any
			d := json.NewDecoder(strings.NewReader(string(r.json())))
			d.UseNumber()
			if err := d.Decode(&object); err != nil || d.More() {
				t.Fatalf("%s: %v", r.json(), err)
			}
			for i, name := range names {
				checkValue(t, object[name], r.values[i], decimalComma)
			}
			if id := deviceID(r.id); strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") != "" {
				t.Fatalf("device id %q", id)
			}
		}
	})
}

func checkValue(t *testing.T, got any, want string, decimalComma bool) {
	switch got := got.(type) {
	case string:
		if got != want {
			t.Fatalf("string %q, want %q", got, want)
		}
	case json.Number:
		want = strings.TrimSpace(want)
		if decimalComma {
			want = strings.Replace(want, ",", ".", 1)
		}
		if got.String() != want {
			t.Fatalf("number %s, want %q", got, want)
		}
	default:
		t.Fatalf("%v of %T, want %q", got, got, want)
	}
}

// Recordings may be padded, commented, without a column for the device, gzipped or piped.
func TestRecordingsOfTheField(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("t,v\n1,2\n"))
	_ = z.Close()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		name, content string
		replay        Replay
		device, json  string
		time          time.Time
	}{
		{"padded", "id ,t , v\nm-1 ,  1451606400,  3.20\n", Replay{IDColumn: "id"}, "m-1", `{"id":"m-1 ","t":1451606400,"v":3.20}`, at("2016-01-01T00:00:00Z")},
		{"trailing delimiters", "id,t,v,\na,1,2,\n", Replay{IDColumn: "id"}, "a", `{"id":"a","t":1,"v":2}`, time.Unix(1, 0)},
		{"trailing in rows", "id,t,v\na,1,2,\n", Replay{IDColumn: "id"}, "a", `{"id":"a","t":1,"v":2}`, time.Unix(1, 0)},
		{"comments before the delimiter", "# of, a, meter\n\r\n# \"it\nt;v\n1;2\n", Replay{ID: "meter", Comment: "#"}, "meter", `{"t":1,"v":2}`, time.Unix(1, 0)},
		{"comments", "# of a meter\nt,v\n# begins\n1,2\n", Replay{ID: "meter", Comment: "#"}, "meter", `{"t":1,"v":2}`, time.Unix(1, 0)},
		{"JSON lines", "{ \"id\": \"m\\u002d1\", \"v\":[1.50], \"t\":1451606400.0 }\r\n", Replay{IDColumn: "id"}, "m-1", `{ "id": "m\u002d1", "v":[1.50], "t":1451606400.0 }`, at("2016-01-01T00:00:00Z")},
		{"JSON lines of one device", "\uFEFF{\"t\":\"2016-01-01T00:00:00Z\"}", Replay{ID: "m"}, "m", `{"t":"2016-01-01T00:00:00Z"}`, at("2016-01-01T00:00:00Z")},
		{"file's name", "t,v\n1,2\n", Replay{FileIsID: true}, "F", `{"t":1,"v":2}`, time.Unix(1, 0)},
		{"gzip", zipped.String(), Replay{ID: "m"}, "m", `{"t":1,"v":2}`, time.Unix(1, 0)},
		{"standard input", "t,v\n1,2\n", Replay{ID: "m", Files: []string{"-"}}, "m", `{"t":1,"v":2}`, time.Unix(1, 0)},
		{"microseconds", "t\n1451606400000001\n", Replay{ID: "m"}, "m", `{"t":1451606400000001}`, at("2016-01-01T00:00:00.000001Z")},
		{"offset", "t\n2016-01-01T02:00:00+0200\n", Replay{ID: "m"}, "m", `{"t":"2016-01-01T02:00:00+0200"}`, at("2016-01-01T00:00:00Z")},
		{"date and time", "d,t\n2016-01-01,08:30:00\n", Replay{ID: "m", DateColumn: "d"}, "m", `{"d":"2016-01-01","t":"08:30:00"}`, at("2016-01-01T08:30:00Z")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.replay
			r.TimeColumn, r.In = "t", strings.NewReader(tt.content)
			if r.Files == nil {
				r.Files = []string{filepath.Join(t.TempDir(), "F.csv")}
				if err := os.WriteFile(r.Files[0], []byte(tt.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.validate(); err != nil {
				t.Fatal(err)
			}
			rec, err := r.scan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pass, err := rec.open()
			if err != nil {
				t.Fatal(err)
			}
			defer pass.close()
			rows, err := pass.next()
			if err != nil {
				t.Fatal(err)
			}
			if len(rec.names) != 1 || rec.names[0] != tt.device || !rows.at.Equal(tt.time) || string(rows.json()) != tt.json {
				t.Errorf("%q at %v: %s", rec.names, rows.at, rows.json())
			}
		})
	}
}
