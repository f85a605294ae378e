package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// houses is a configuration with all kinds of options.
type houses struct {
	Main   house                `yaml:"main" help:"one"`
	Named  setting.Named[house] `yaml:"named" help:"any number"`
	Listed setting.List[house]  `yaml:"listed" help:"a list"`
}

type house struct {
	URL     string          `yaml:"url" help:"where"`
	Wait    time.Duration   `yaml:"wait" help:"how long"`
	Tags    []string        `yaml:"tags" help:"some"`
	Secret  setting.Secret  `yaml:"secret" help:"what it knows"`
	Windows map[string]pane `yaml:"windows" help:"to look out of"`

	Rooms map[string]string `yaml:"rooms" help:"what each is for"`
}

type pane struct {
	Bytes int `yaml:"bytes" unit:"bytes" help:"size"`
}

func (h house) WithDefaults() house {
	if h.Wait == 0 {
		h.Wait = time.Second
	}
	return h
}

func (h house) Validate() error {
	if h.URL == "" {
		return errors.New("url: is missing")
	}
	return nil
}

func (h *houses) read(text string) error {
	d := newDecoder("f", []byte(text))
	d.document([]byte(text), reflect.ValueOf(h).Elem())
	return d.err()
}

const housesText = `
main: {url: a}
named:
  billing: {url: b, tags: [x, y], windows: {south: {bytes: 1KiB}}, rooms: {first.left: sleep, 'the "blue" one': 3, "a: b": ": {["}}
  Old-1:
    wait: 3s
listed:
  - url: c
    secret: sesame
  - {}
`

func TestSectionsOfAKind(t *testing.T) {
	var h houses
	if err := h.read(housesText); err != nil {
		t.Fatal(err)
	}
	n, l := h.Named.WithDefaults(), h.Listed.WithDefaults()
	switch {
	case !reflect.DeepEqual(n["billing"].Rooms, map[string]string{"first.left": "sleep", `the "blue" one`: "3", "a: b": ": {["}),
		len(n) != 2, n["billing"].URL != "b", n["billing"].Wait != time.Second, n["Old-1"].Wait != 3*time.Second,
		!reflect.DeepEqual(n["billing"].Tags, []string{"x", "y"}), n["billing"].Windows["south"].Bytes != 1024,
		len(l) != 2, l[0].URL != "c", l[1].Wait != time.Second, h.Named["billing"].Wait != 0, h.Listed[1].Wait != 0:
		t.Errorf("%+v, %+v", n, l)
	}
	if err := errors.Join(n.Validate(), l.Validate()); err.Error() != "Old-1.url: is missing\n1.url: is missing" {
		t.Errorf("validated: %v", err)
	}
}

func TestSectionErrorsSayWhere(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"named:\n  a:\n    wait: x\n", "f:3:11: named.a.wait: want a duration"},
		{"named:\n  a:\n    wate: x\n", `f:3:5: named.a: unknown key "wate"`},
		{"named:\n  a b: {}\n", `f:2:3: named: want a name of 1 to 64 of A-Z a-z 0-9 _ -, not "a b"`},
		{"named:\n  a.b: {}\n", `f:2:3: named: want a name`},
		{"named:\n  a: {}\n  a: {}\n", `f:3:3: `},
		{"named: [a]\n", "f:1:8: named: want names, and below each name keys and values: url, wait"},
		{"named: {a: 3}\n", "f:1:12: named.a: want keys and values"},
		{"listed: {a: {}}\n", "f:1:"},
		{"listed: {a: {}}\n", "listed: want a list, each item with keys and values: url, wait"},
		{"listed:\n  - {}\n  - {url: {}}\n", "f:3:11: listed.1.url: want one value"},
		{"listed:\n  - {}\n  - 3\n", "f:3:5: listed.1: want keys and values"},
		{"main: {rooms: [a]}\n", "f:1:15: main.rooms: want keys and values, such as {a: b}"},
		{"main: {rooms: {a.b: [c]}}\n", "f:1:21: main.rooms.a.b: want one value"},
		{"main: {rooms: {a: 1, a: 2}}\n", "f:1:22: "},
		{"main: {windows: {w: {bytes: x}}}\n", "f:1:29: main.windows.w.bytes: want a number of bytes"},
	} {
		var h houses
		if err := h.read(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
	}
}

// If a package's error names a key that is not in the file, the error is shown at the section above it.
func TestPlaceOfWhatIsMissing(t *testing.T) {
	_, err := Parse("f", []byte("auth:\n  order: [webhook]\n  webhook: {timeout: 3s}\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "f:3:") || !strings.Contains(err.Error(), "auth.webhook.url: ") {
		t.Errorf("%v", err)
	}
}

func TestSet(t *testing.T) {
	for _, tt := range []struct{ key, value, want string }{
		{"main.wate", "1", `--set: main: unknown key "wate"`},
		{"main.wait", "1", "--set: main.wait: want a duration"},
		{"main.wait.x", "1", `--set: main.wait: this option has no keys below it, so no "x"`},
		{"", "1", `--set: unknown key ""`},
		{"named.a b.url", "1", "--set: named: want a name"},
		{"listed.0.url", "1", "--set: listed: this option has no keys below it"},
		{"main.tags", "a", "--set: main.tags: want a list"},
		{"main.tags", "[", "--set: main.tags: want YAML"},
		{"main", "3", "--set: main: want keys and values"},
		{"main.rooms.", "3", "--set: main.rooms: this option has no keys below it"},
		{"main.rooms", "3", "--set: main.rooms: want keys and values"},
	} {
		var h houses
		if err := h.read(housesText); err != nil {
			t.Fatal(err)
		}
		err := set(reflect.ValueOf(&h).Elem(), "--set", tt.key, tt.value, true)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s=%s: %v, want %s", tt.key, tt.value, err, tt.want)
		}
	}
	var h houses
	if err := h.read(housesText); err != nil {
		t.Fatal(err)
	}
	for _, each := range [][2]string{
		{"main.wait", "5s"}, {"main.url", ": {["}, {"main.tags", "[p, q]"}, {"main.windows.north.bytes", "2KiB"}, {"main.secret_file", "s"},
		{"named.billing.wait", "7s"}, {"named.new.url", "n"}, {"named.Old-1", "{url: o}"}, {"listed", "[{url: l}, {}, {}]"},
		{"main.rooms.first.left", "[1"}, {"main.rooms", "{second: x}"},
	} {
		if err := set(reflect.ValueOf(&h).Elem(), "--set", each[0], each[1], true); err != nil {
			t.Error(err)
		}
	}
	got := fmt.Sprintln(h.Main.Wait, h.Main.URL, h.Main.Tags, h.Main.Windows, h.Main.Secret, h.Named["billing"].Wait, h.Named["billing"].URL,
		h.Named["new"].URL, h.Named["Old-1"].URL, h.Named["Old-1"].Wait, h.Listed[0].URL, len(h.Listed), h.Main.Rooms)
	if want := "5s : {[ [p q] map[north:{2048}] (secret in s) 7s b n o 3s l 3 map[first.left:[1 second:x]\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var c Config
	err := c.SetFrom([]string{"LONGLINE_TOKEN=x", "LONGLINE_GATEWAY__HEARTBEAT=9s", "LONGLINE_AUTH__JWT__ISSUER=i", "PATH=/bin"})
	if err != nil || c.Gateway.Heartbeat != 9*time.Second || c.Auth.JWT.Issuer != "i" {
		t.Errorf("%v, %+v", err, c)
	}
	if err := c.SetFrom([]string{"LONGLINE_LOG__LEVELS=x"}); err == nil || !strings.HasPrefix(err.Error(), "environment variable LONGLINE_LOG__LEVELS: log: unknown key") {
		t.Errorf("%v", err)
	}
}

func TestSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOUSE_SECRET", "sesame")
	for text, want := range map[string]string{
		"main: {secret: sesame}\n":                                  "sesame",
		"main: {secret_file: " + file + "}\n":                       "sesame",
		"main: {secret_env: HOUSE_SECRET}\n":                        "sesame",
		"main: {secret: \"\", secret_env: HOUSE_SECRET}\n":          "sesame",
		"main: {secret: \"\", secret_file: \"\", secret_env: \"\"}": "",
	} {
		var h houses
		if err := h.read(text); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		reveal, err := h.Main.Secret.Follow(new(reload.Watcher), nil)
		if err != nil || string(reveal()) != want || h.Main.Secret.Given() != (want != "") {
			t.Errorf("%s: %v, %q", text, err, reveal())
		}
	}
	for text, want := range map[string]string{
		"main:\n  secret_env: HOUSE_SECRET_GONE\n":              `f:2:15: main.secret_env: the environment variable "HOUSE_SECRET_GONE" is not set, or empty`,
		"main:\n  secret_file: f\n  secret_env: HOUSE_SECRET\n": "f:3:15: main.secret_env: is also given as main.secret_file",
	} {
		var h houses
		if err := h.read(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// No error shows a secret, whatever is wrong around it.
func TestErrorsShowNoSecret(t *testing.T) {
	for _, text := range []string{
		"main: {secret: sesame, wait: x}\n",
		"main: {wait: x, secret: sesame}\n",
		"main:\n  secret: [sesame]\n",
		"main:\n  secret: sesame\n  secret_file: f\n",
		"main:\n  secrt: sesame\n",
		"main:\n  secret: \"ses\\x61me\\n sesame\"\n  wait: x\n",
		"main:\n  secret: |\n    sesame\n    sesame\n  wait: x\n",
		"main:\n  secret: >-\n    sesame\n\n    sesame\nmain: {}\n",
		"main:\n  secret: \"sesame\n",
		"main:\n  secret: 'sesame\n",
		"main:\n  secret: sesame: sesame\n",
		"main:\n  secret: sesame\n   sesame: [\n",
		"main:\n  secret: {sesame\n",
		"main:\n  secret: &sesame sesame\n",
		"main:\n  secret: *sesame\n",
		"main:\n  secret: !sesame sesame\n",
		"main: {secret:\n\"sesame\",\nwait: x}\n",
		"mane: {secret: sesame}\n",
		"named: {a: {secret: sesame, wait: x}, a b: {secret: sesame}}\n",
		"listed: [{secret: sesame, x: y}]\n",
	} {
		var h houses
		err := h.read(text)
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPrintHidesSecrets(t *testing.T) {
	c := parse(t, "auth: {order: [webhook], webhook: {url: \"https://h\", secret: sesame}}\n")
	var b strings.Builder
	if err := Print(&b, c); err != nil || strings.Contains(b.String(), "sesame") || !strings.Contains(b.String(), "    secret: \"\" # (secret)\n") {
		t.Errorf("%v\n%s", err, &b)
	}
	again := parse(t, b.String()).WithDefaults()
	for path, f := range all(reflect.ValueOf(again)) {
		if want := all(reflect.ValueOf(c.WithDefaults()))[path]; !f.secret() && f.text() != want.text() {
			t.Errorf("%s: printed as %s, was %s", path, f.text(), want.text())
		}
	}
	var h houses
	if err := h.read(housesText); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	printSection(&b, "", "", reflect.ValueOf(h))
	var same houses
	if err := same.read(b.String()); err != nil || len(same.Named) != 2 || same.Named["billing"].Windows["south"].Bytes != 1024 || !reflect.DeepEqual(same.Named["billing"].Rooms, h.Named["billing"].Rooms) || len(same.Listed) != 2 || same.Listed[0].URL != "c" {
		t.Errorf("%v, %+v\n%s", err, same, &b)
	}
}

// The example of named sections is a comment with their defaults.
func TestExampleOfSections(t *testing.T) {
	var b strings.Builder
	example(&b, "", "", reflect.ValueOf(houses{}))
	var h houses
	if err := h.read(b.String()); err != nil || !reflect.DeepEqual(h, houses{}) {
		t.Errorf("%v, %+v\n%s", err, h, &b)
	}
	text := regexp.MustCompile(`(?m)^( *)#(\S|  )`).ReplaceAllString(strings.ReplaceAll(b.String(), "NAME", "n"), "$1$2")
	if err := h.read(text); err != nil || h.Named["n"].Wait != time.Second || len(h.Listed) != 1 {
		t.Errorf("%v, %+v\n%s", err, h, text)
	}
}

// A command line is in /proc, in ps and in the profiles of the admin port: it may name a secret's file, and not hold the secret.
func TestCommandLineHoldsNoSecret(t *testing.T) {
	for key, value := range map[string]string{
		"auth.webhook.secret": "sesame",
		"auth.webhook":        "{secret: sesame}",
		"auth":                "{webhook: {secret: sesame}}",
	} {
		var c Config
		err := c.Set("--set", key, value)
		if err == nil || c.Auth.Webhook.Secret.Given() || strings.Contains(err.Error(), "sesame") || !strings.Contains(err.Error(), "secret_file") {
			t.Errorf("%s: %v", key, err)
		}
	}
	var c Config
	if err := c.Set("--set", "auth.webhook.secret_file", "f"); err != nil || !c.Auth.Webhook.Secret.Given() {
		t.Errorf("the name of a file: %v", err)
	}
	c = Config{}
	if err := c.SetFrom([]string{"LONGLINE_AUTH__WEBHOOK__SECRET=sesame"}); err != nil || !c.Auth.Webhook.Secret.Given() {
		t.Errorf("the environment: %v", err)
	}
}

// FuzzSections reads any text and sets any option: no error contains a secret.
func FuzzSections(f *testing.F) {
	f.Add(housesText, "named.a.secret", "sesame")
	f.Add("main:\n  secret: 3\n", "listed", "[{secret: sesame, x: y}]")
	f.Add("listed: [{windows: {w: {bytes: 1}}}, {}]\nnamed: {? a : {}}\n", "main", "{secret: [sesame]}")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		var h houses
		err := h.read(text)
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("the error does not name the file: %v", err)
		}
		if err == nil {
			var again houses
			var b strings.Builder
			printSection(&b, "", "", reflect.ValueOf(h))
			if err := again.read(b.String()); err != nil && len(b.String()) < maxFile {
				t.Errorf("what was printed cannot be read: %v\n%s", err, &b)
			}
		}
		if err := set(reflect.ValueOf(&h).Elem(), "--set", key, value, true); err != nil && !strings.HasPrefix(err.Error(), "--set: ") {
			t.Errorf("the error does not name the flag: %v", err)
		}
	})
}

// A mistake in a service is found where it is.
func TestServicesErrors(t *testing.T) {
	const begin = "services:\n  billing:\n    instances: [http://10.0.0.5:9000]\n"
	wantErrors(t, map[string]string{
		begin + "    choose: fastest\n":                                                   "f:4:13: services.billing.choose: want one of round_robin, random, response_time, least, not \"fastest\"",
		begin + "    serve: true\n":                                                       "f:4:12: services.billing.serve: want instances or serve, and not both",
		begin + "    idempotent: [a/b]\n":                                                 "f:4:17: services.billing.idempotent: want names of methods",
		begin + "    probe: {path: healthz}\n":                                            "f:4:19: services.billing.probe.path: want a path such as /healthz",
		begin + "    accept: [\"a/b; c=d\"]\n":                                            "f:4:13: services.billing.accept: want content types",
		begin + "    timeout: 0.1ms\n":                                                    "f:4:14: services.billing.timeout: want 1ms to 1h",
		begin + "    tls: {cert: a}\n":                                                    "f:4:17: services.billing.tls.cert: want both cert and key, or none",
		begin + "    colour: red\n":                                                       "f:4:5: services.billing: unknown key \"colour\"",
		"services:\n  a/b: {serve: true}\n":                                               "f:2:3: services: want a name",
		"services:\n  billing: {timeout: 1s}\n":                                           "f:2:3: services.billing.instances: nothing says where they are",
		"auth: {order: [webhook], webhook: {service: a}}\nservices: {a: {serve: true}}\n": "f:1:45: auth.webhook.service: a is not a service with instances",
		"auth: {order: [webhook], webhook: {service: a}}\nservices: {a: {instances: [\"http://h\"]}}\n":                                 "f:1:45: auth.webhook.service: a needs private: true",
		"ocpp: {service: a}\nservices: {a: {serve: true, private: true}}\n":                                                             "f:1:17: ocpp.service: a is private",
		"models: {a: {service: b}}\nservices: {b: {serve: true}}\n":                                                                     "models.a.inputs: want 1 to 64, not 0",
		"models: {a: {service: b, inputs: {x: {fields: [payload]}}, output: {set: c}}}\n":                                               "models.a.service: b is not a service with instances and protocol grpc",
		"store: {path: /x}\nstreams: {s: {filters: [a]}}\nsinks: {b: {stream: s, model: c, file: {path: out}}}":                         "f:3:31: sinks.b.model: models has no \"c\" with output.set",
		"models: {a: {instances: [\"http://b\"], inputs: {x: {fields: [payload]}}, filters: [c/#], output: {publish: \"c/{source}\"}}}": "models.a.output.publish: \"c/{source}\" goes round",
		"services: {a: {serve: true}, b: {instances: [\"http://b:1\"], tls: {ca: x}}}":                                                  "",
	})
}

// Fields of an inline struct are options of the section that it is in, with their places and defaults.
func TestInlineStruct(t *testing.T) {
	c := parse(t, "services: {grid: {choose: least, consul: {service: grid, tags: [a], token: sesame}}}").WithDefaults()
	grid := c.Services["grid"]
	if grid.Choose != "least" || grid.Consul.Service != "grid" || !grid.Consul.Token.Given() || grid.Consul.Address != "http://127.0.0.1:8500" || grid.DNS.Scheme != "" {
		t.Errorf("%+v", grid)
	}
	_, err := Parse("f", []byte("services:\n  grid:\n    consul:\n      service: grid\n      scheme: ftp\n"))
	if err == nil || !strings.Contains(err.Error(), "f:5:15: services.grid.consul.scheme: want http or https") {
		t.Error(err)
	}
	_, err = Parse("f", []byte("services:\n  grid:\n    instances: [\"http://a:1\"]\n    consul:\n      service: grid\n"))
	if err == nil || !strings.Contains(err.Error(), "services.grid.consul: want one source of instances, not instances, consul") {
		t.Error(err)
	}
}

// OCPP needs one of the services, and its bounds.
func TestOCPPErrors(t *testing.T) {
	const begin = "services: {csms: {serve: true}}\n"
	wantErrors(t, map[string]string{
		begin + "ocpp: {service: csms, waiting: 4}\n":                          "",
		begin + "ocpp: {service: cmss}\n":                                      "f:2:17: ocpp.service: services has no \"cmss\"",
		begin + "ocpp: {service: csms, waiting: 1001}\n":                       "f:2:32: ocpp.waiting: want 1 to 1000, not 1001",
		begin + "ocpp: {service: csms, call_timeout: 1ms}\n":                   "f:2:37: ocpp.call_timeout: want 1s or more",
		begin + "ocpp: {service: csms}\ngateway: {raw_protocols: [ocpp1.6]}\n": "gateway.raw_protocols: the gateway itself speaks subprotocol \"ocpp1.6\": it cannot be raw",
	})
}

// dish is a section that can be one word.
type dish struct {
	Name string `yaml:"name" help:"what it is"`
	Salt int    `yaml:"salt" help:"how much"`
}

func (d *dish) UnmarshalText(name []byte) error {
	if string(name) == "stones" {
		return errors.New("want food")
	}
	*d = dish{Name: string(name)}
	return nil
}

func TestSectionOfOneWord(t *testing.T) {
	type table struct {
		Dish  dish               `yaml:"dish" help:"one"`
		Named map[string]dish    `yaml:"named" help:"many"`
		Plain struct{ X string } `yaml:"plain" help:"no word"`
	}
	for text, want := range map[string]string{
		"dish: soup\nnamed: {a: rice, b: {name: fish, salt: 2}}": "",
		"dish: stones":  `dish: want food, not "stones"`,
		"plain: stones": "plain: want keys and values",
	} {
		var got table
		d := newDecoder("f", []byte(text))
		d.document([]byte(text), reflect.ValueOf(&got).Elem())
		err := d.err()
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", text, err, want)
		case want == "" && (err != nil || got.Dish.Name != "soup" || got.Named["a"].Name != "rice" || got.Named["b"] != dish{"fish", 2}):
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	var got table
	if err := set(reflect.ValueOf(&got).Elem(), "--set", "dish", "soup", true); err != nil || got.Dish.Name != "soup" {
		t.Errorf("%+v, %v", got, err)
	}
}
