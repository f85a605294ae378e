package config

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, text string) Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExampleAsItIsSaysNothing(t *testing.T) {
	if c := parse(t, string(Example())); !reflect.DeepEqual(c, Config{}) {
		t.Errorf("the example sets %+v", c)
	}
}

func TestExampleUncommentedIsTheDefaults(t *testing.T) {
	option := regexp.MustCompile(`(?m)^(\s*)#([a-z]\w*:)`) // not NAME:, which stands for sections that have no defaults
	text := option.ReplaceAllString(string(Example()), "$1$2")
	got, want := parse(t, text), Config{}.WithDefaults()
	for path, f := range all(reflect.ValueOf(got)) {
		w := all(reflect.ValueOf(want))[path]
		if f.text() != w.text() {
			t.Errorf("%s: %s parses to %s", path, w.text(), f.text())
		}
	}
}

// all returns the options of a Config by path.
func all(root reflect.Value) map[string]field {
	m := make(map[string]field)
	var walk func(path string, section reflect.Value)
	walk = func(path string, section reflect.Value) {
		for f := range fields(path, section) {
			switch {
			case f.section():
				walk(f.path, f.value)
			case f.named(), f.sections():
				walk(f.path, f.sample())
			default:
				m[f.path] = f
			}
		}
	}
	walk("", root)
	return m
}

func TestEveryOptionIsDeclaredInFull(t *testing.T) {
	var walk func(path string, s reflect.Type)
	walk = func(path string, s reflect.Type) {
		for i := range s.NumField() {
			f := s.Field(i)
			switch f.Tag.Get("yaml") {
			case "-":
				continue
			case inline:
				walk(path, f.Type)
				continue
			case "":
				t.Errorf("%s%s has no key: give it a yaml tag", path, f.Name)
			}
			if f.Tag.Get("help") == "" {
				t.Errorf("%s%s has no help", path, f.Name)
			}
			if f.Type.Kind() == reflect.Struct && f.Type != secretType {
				walk(path+f.Name+".", f.Type)
			}
		}
	}
	walk("Config.", reflect.TypeFor[Config]())
	var c Config
	for path, f := range all(reflect.ValueOf(&c).Elem()) {
		if f.value.Kind() == reflect.Slice {
			continue
		}
		if err := f.set("?"); err != nil && strings.Contains(err.Error(), "no kind of option") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestValues(t *testing.T) {
	c := parse(t, `
gateway:
  listen: "127.0.0.1:0"
  insecure: true
  heartbeat: 1m30s
  heartbeat_timeout: 1h
  max_payload: 64KiB
  header_bytes: 4096
  max_connections: 1_000_000
  raw_protocols: [ocpp1.6, "ocpp2.0.1"]
sessions: {topics: {depth: 8}}
store:
log:
  level: debug
`)
	g := c.Gateway
	switch {
	case g.Listen != "127.0.0.1:0", !g.Insecure, g.Heartbeat != 90*time.Second, g.HeartbeatTimeout != time.Hour,
		g.MaxPayload != 64<<10, g.HeaderBytes != 4096, g.MaxConnections != 1_000_000,
		!reflect.DeepEqual(g.RawProtocols, []string{"ocpp1.6", "ocpp2.0.1"}),
		c.Sessions.Topics.Depth != 8, c.Log.Level != "debug":
		t.Errorf("got %+v", c)
	}
	if g.PendingBytes != 0 {
		t.Error("what the file leaves out is not zero")
	}
}

func TestBlocks(t *testing.T) {
	c := parse(t, "gateway:\n  listen: >-\n    127.0.0.1\n    :0\nstore:\n  path: |\n    a\n    b\n")
	if c.Gateway.Listen != "127.0.0.1 :0" || c.Store.Path != "a\nb\n" {
		t.Errorf("got %q, %q", c.Gateway.Listen, c.Store.Path)
	}
}

func TestErrorsSayWhere(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		line, col  int
		key, msg   string
	}{
		{"syntax", "gateway:\n  listen: [a\n", 2, 11, "", ""},
		{"tab", "gateway:\n\tlisten: a\n", 2, 1, "", ""},
		{"duplicate", "log:\n  level: info\n  level: warn\n", 3, 3, "", "level"},
		{"unknown section", "gatewai:\n  a: 1\n", 1, 1, "", `unknown key "gatewai"`},
		{"unknown key", "gateway:\n  insecure: true\n  hartbeat: 3s\n", 3, 3, "gateway", `unknown key "hartbeat"`},
		{"untagged field", "sessions:\n  queue: {}\n", 2, 3, "sessions", "unknown key"},
		{"not a section", "gateway: 7\n", 1, 10, "gateway", "want keys and values"},
		{"not a document", "- a\n", 1, 1, "", "want keys and values"},
		{"two documents", "log: {}\n---\nlog: {}\n", 2, 1, "", "more than one document"},
		{"duration", "gateway:\n  heartbeat: 30\n", 2, 14, "gateway.heartbeat", "want a duration"},
		{"negative duration", "gateway:\n  heartbeat: -3s\n", 2, 14, "gateway.heartbeat", "want a duration"},
		{"bytes", "gateway:\n  max_payload: 64KB\n", 2, 16, "gateway.max_payload", "want a number of bytes"},
		{"bytes overflow", "gateway:\n  max_payload: 9999999999GiB\n", 2, 16, "gateway.max_payload", "want a number of bytes"},
		{"number", "gateway:\n  loops: many\n", 2, 10, "gateway.loops", "want a whole number"},
		{"negative number", "gateway:\n  loops: -1\n", 2, 10, "gateway.loops", "want a whole number"},
		{"unit of a count", "gateway:\n  loops: 4KiB\n", 2, 10, "gateway.loops", "want a whole number"},
		{"bool", "gateway:\n  insecure: yes\n", 2, 13, "gateway.insecure", "want true or false"},
		{"list", "gateway:\n  raw_protocols: ocpp1.6\n", 2, 18, "gateway.raw_protocols", "want a list"},
		{"list of lists", "gateway:\n  raw_protocols: [[a]]\n", 2, 19, "gateway.raw_protocols", "want a list of texts"},
		{"mapping for a value", "log:\n  level: {a: b}\n", 2, 10, "log.level", "want one value"},
		{"empty value", "log:\n  level:\n", 2, 10, "log.level", "want one value"},
		{"alias", "log:\n  level: &a info\n", 2, 10, "log.level", "want one value"},
		{"package's rule", "gateway:\n  heartbeat: 30s\n  heartbeat_timeout: 20s\n", 3, 22, "gateway.heartbeat_timeout", "must be longer"},
		{"insecure in public", "gateway:\n  listen: 0.0.0.0:1\n  insecure: true\n", 3, 13, "gateway.insecure", "loopback"},
		{"one address for two", "gateway:\n  listen: \":1883\"\n  mqtt: {listen: \":1883\"}\n", 3, 18, "gateway.mqtt.listen", "gateway.listen"},
		{"one address for both of MQTT", "gateway:\n  tls: {cert: c, key: k}\n  mqtt: {listen: \":1\", tls_listen: \":1\"}\n", 3, 36, "gateway.mqtt.tls_listen", "gateway.mqtt.listen"},
		{"log level", "log: {level: loud}\n", 1, 14, "log.level", "want debug"},
		{"between sections", "store:\n  queue:\n    bytes: 1KiB\n", 3, 12, "store.queue.bytes", "gateway.max_payload, 256KiB"},
		{"in flight", "sessions: {in_flight: 2000}\n", 1, 23, "sessions.in_flight", "store.queue.count, 1000"},
		{"stream without a filter", "store: {path: d}\nstreams:\n  a:\n    max_age: 1h\n", 3, 3, "streams.a.filters", "want at least one"},
		{"shared stream", "store: {path: d}\nstreams:\n  a:\n    filters: [x, $share/g/x]\n", 4, 14, "streams.a.filters", "shared"},
		{"small stream", "store: {path: d}\nstreams:\n  a: {filters: [x], max_bytes: 1MiB}\n", 3, 32, "streams.a.max_bytes", "16MiB"},
		{"stream for large messages", "store: {path: d, queue: {bytes: 8MiB}}\ngateway: {max_payload: 8MiB}\nstreams:\n  a: {filters: [x], max_bytes: 16MiB}\n",
			4, 32, "streams.a.max_bytes", "gateway.max_payload, 8MiB"},
		{"full stream", "store: {path: d}\nstreams:\n  a: {filters: [x], when_full: burst}\n", 3, 32, "streams.a.when_full", "drop_oldest or refuse"},
		{"young stream", "store: {path: d}\nstreams:\n  a: {filters: [x], max_age: 1s}\n", 3, 30, "streams.a.max_age", "1m"},
		{"stream in memory", "streams:\n  a: {filters: [x]}\n", 2, 4, "streams", "store.path"},
		{"expiry", "sessions:\n  expiry: 200h\n", 2, 11, "sessions.expiry", "sessions.max_expiry, 168h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("test.yaml", []byte(tt.text))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an Error", err)
			}
			if e.Line != tt.line || e.Column != tt.col || e.Key != tt.key || !strings.Contains(e.Msg, tt.msg) {
				t.Errorf("got %q, want %d:%d key %q with %q", e, tt.line, tt.col, tt.key, tt.msg)
			}
			source := strings.Split(strings.ReplaceAll(tt.text, "\t", " "), "\n")[tt.line-1]
			if prefix := fmt.Sprintf("test.yaml:%d:%d: ", tt.line, tt.col); !strings.HasPrefix(e.Error(), prefix) || !strings.Contains(e.Error(), source) {
				t.Errorf("%q lacks the place or the line", e.Error())
			}
		})
	}
}

func TestErrorsAreToldTogether(t *testing.T) {
	_, err := Parse("test.yaml", []byte("gateway:\n  loops: x\n  nope: 1\nlog: 3\n"))
	if got := strings.Count(err.Error(), "test.yaml:"); got != 3 {
		t.Errorf("%d errors, want 3:\n%v", got, err)
	}
}

func TestErrorMarksTheColumn(t *testing.T) {
	_, err := Parse("f.yaml", []byte("log:\n  level: loud\n"))
	want := "f.yaml:2:10: log.level: want debug, info, warn or error, not \"loud\"\n" +
		"    2 |   level: loud\n" +
		"      |          ^"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestCheckOfDefaults(t *testing.T) {
	var c Config
	if err := c.Check(); err != nil {
		t.Error(err)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "longline.yaml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for a file that is not there", err)
	}
	if err := os.WriteFile(path, []byte("log: {format: json}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path); err != nil || c.Log.Format != "json" {
		t.Errorf("got %+v, %v", c, err)
	}
	if err := os.WriteFile(path, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "larger than 256KiB") {
		t.Errorf("got %v for a file that is too large", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Example())
	f.Add([]byte("gateway:\n  listen: [a\n"))
	f.Add([]byte("gateway: {raw_protocols: [a, b], heartbeat: 3s}\nlog: &x {level: *x}\n"))
	f.Add([]byte("? a\n: b\n--- |\n x\n...\n!!map {<<: 3}\n\"\\x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, err := Parse("f", text)
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("the error does not name the file: %v", err)
		}
	})
}

var update = flag.Bool("update", false, "write docs/configuration.md again")

// TestDocs checks docs/configuration.md against the declarations; with -update it writes the file.
func TestDocs(t *testing.T) {
	const path = "../../docs/configuration.md"
	want := docs()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("docs/configuration.md is not what the declarations say (%v): run make generate", err)
	}
}

func docs() string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Made from the declarations of the options by make generate. -->

` + "`longline serve --config FILE`" + ` reads one YAML file. Every option may be left out; an option
that is 0 or empty has its default. Unknown keys are errors. ` + "`longline config example`" + ` prints a
file with every option, ` + "`longline config check FILE`" + ` tells what is wrong with one.

Durations are written 500ms, 30s or 1h; sizes 512, 64KiB or 1MiB.

**Options one by one.** ` + "`longline serve --set gateway.heartbeat=10s`" + ` sets an option, as often as it is given, and so does an
environment variable that is named after it, in capitals, with two underscores for each point:
` + "`LONGLINE_GATEWAY__HEARTBEAT=10s`" + `. Flags go before the environment, the environment before the file. A list is replaced as a whole:
` + "`--set 'gateway.raw_protocols=[ocpp1.6, ocpp2.0.1]'`" + `.

**Several sections of a kind.** Where a section is listed here with a NAME in its keys, there may be any number of them below it, each under a name of
1 to 64 of A-Z a-z 0-9 _ -, which is part of the keys: ` + "`--set SECTION.NAME.KEY=VALUE`" + ` sets one option of one of them, and makes that section if there is none. (In
the environment names are in small letters.) Where it is listed with a 0, they are a list; errors count them from 0, and a flag or the environment
replaces the whole list: ` + "`--set 'SECTION=[{KEY: VALUE}, {KEY: VALUE}]'`" + `.

**Secrets** have three keys, of which one may be given: the secret itself, the name of a file that holds it (` + "`_file`" + `), and the name of an
environment variable (` + "`_env`" + `). They are in no log, no error and not in what ` + "`longline config print`" + ` shows, which is all that serve would work with.
` + "`--set`" + ` takes a secret's file or variable, not the secret: everybody on the machine can read a command line.
`)
	defaults := Config{}.WithDefaults()
	table(&b, "", reflect.ValueOf(defaults))
	return b.String()
}

func table(b *strings.Builder, path string, section reflect.Value) {
	var sections []field
	head := false
	for f := range fields(path, section) {
		if f.section() || f.named() || f.sections() {
			sections = append(sections, f)
			continue
		}
		if !head {
			b.WriteString("\n| key | default | meaning |\n|---|---|---|\n")
			head = true
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", f.path, f.text(), f.help)
	}
	for _, f := range sections {
		fmt.Fprintf(b, "\n## %s\n\n%s.\n", f.path, strings.ToUpper(f.help[:1])+f.help[1:])
		switch {
		case f.named():
			table(b, below(f.path, "NAME"), f.sample())
		case f.sections():
			table(b, below(f.path, "0"), f.sample())
		default:
			table(b, f.path, f.value)
		}
	}
}
