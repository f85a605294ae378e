package format

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/longline/longline/internal/setting"
)

// schemaRegistry speaks as much of Confluent's REST as a registry of this package asks.
type schemaRegistry struct {
	*httptest.Server

	mu       sync.Mutex
	schemas  []string // by id, from 1
	subjects map[string][]int
	asked    []string
	down     bool
	answer   string // in place of any other
	status   int    // of it; 0 means 200
}

func newSchemaRegistry(t *testing.T) *schemaRegistry {
	t.Helper()
	r := &schemaRegistry{subjects: make(map[string][]int)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// add registers a schema under a subject, and returns its id.
func (r *schemaRegistry) add(subject, schema string) int {
	r.schemas = append(r.schemas, schema)
	id := len(r.schemas)
	r.subjects[subject] = append(r.subjects[subject], id)
	return id
}

func (r *schemaRegistry) find(subject, schema string) int {
	for _, id := range r.subjects[subject] {
		if r.schemas[id-1] == schema {
			return id
		}
	}
	return 0
}

func (r *schemaRegistry) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// questions returns what was asked since the last call.
func (r *schemaRegistry) questions() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := strings.Join(r.asked, ", ")
	r.asked = nil
	return all
}

func (r *schemaRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, req.Method+" "+req.URL.Path)
	if user, password, _ := req.BasicAuth(); user != "u" || password != "sesame" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var body struct{ Schema string }
	text, _ := io.ReadAll(req.Body)
	_ = json.Unmarshal(text, &body)
	subject := strings.Split(strings.TrimPrefix(req.URL.Path, "/subjects/"), "/")[0]
	id := 0
	switch {
	case r.down:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case r.answer != "":
		w.WriteHeader(cmp.Or(r.status, http.StatusOK))
		_, _ = io.WriteString(w, r.answer)
		return
	case strings.HasPrefix(req.URL.Path, "/schemas/ids/"):
		_, _ = fmt.Sscanf(req.URL.Path, "/schemas/ids/%d", &id)
	case strings.HasSuffix(req.URL.Path, "/versions/latest"):
		if ids := r.subjects[subject]; len(ids) > 0 {
			id = ids[len(ids)-1]
		}
	case req.Method == http.MethodPost:
		if id = r.find(subject, body.Schema); id == 0 && strings.HasSuffix(req.URL.Path, "/versions") {
			id = r.add(subject, body.Schema)
		}
	}
	if id < 1 || id > len(r.schemas) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error_code":40403,"message":"Schema not found"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"id": id, "schema": r.schemas[id-1], "subject": subject, "version": 1})
}

func (r *schemaRegistry) config(a Avro) Config {
	a.Registry.URL, a.Registry.User, a.Registry.Password = r.URL+"/", "u", setting.NewSecret("sesame")
	return Config{Avro: a}
}

// registryOf returns what f asks.
func registryOf(f Format) *registry { return f.(*confluentFormat).registry }

// later makes the answers of f as old as d.
func later(f Format, d time.Duration) {
	r := registryOf(f)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.known {
		if !a.until.IsZero() {
			a.until = a.until.Add(-d)
		}
	}
	if r.down != nil {
		r.down.until = r.down.until.Add(-d)
	}
}

func TestRegistryRegisters(t *testing.T) {
	r := newSchemaRegistry(t)
	r.add("other", `"string"`)
	look := open(t, r.config(Avro{Schema: `"int"`, Subject: "t/x-value"}))
	v := decoded(t, jsonFormat{}, `-1`).Root()
	if _, err := look.Encode(nil, v); !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), `404 Not Found: "Schema not found"; register it, or set register`) {
		t.Errorf("a schema that is not there: %v", err)
	}
	f := open(t, r.config(Avro{Schema: `"int"`, Subject: "t/x-value", Registry: Registry{Register: true}}))
	for range 3 {
		if got := encoded(t, f, v); got != "\x00\x00\x00\x00\x02\x01" {
			t.Errorf("%x", got)
		}
	}
	if _, err := look.Encode(nil, v); !errors.Is(err, ErrAway) {
		t.Errorf("a failure is not remembered: %v", err)
	}
	later(look, registryPause)
	if got := encoded(t, look, v); got != "\x00\x00\x00\x00\x02\x01" {
		t.Errorf("%x", got)
	}
	if got, want := r.questions(), "POST /subjects/t/x-value, POST /subjects/t/x-value/versions, POST /subjects/t/x-value"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	if got := f.ContentType(); got != "application/avro" {
		t.Error(got)
	}
}

func TestRegistryLatest(t *testing.T) {
	r := newSchemaRegistry(t)
	r.add("s", `"int"`)
	f := open(t, r.config(Avro{Subject: "s"}))
	v := decoded(t, jsonFormat{}, `1`).Root()
	write := func(want string) {
		t.Helper()
		if got := encoded(t, f, v); got != want {
			t.Errorf("%x, want %x", got, want)
		}
	}
	write("\x00\x00\x00\x00\x01\x02")
	r.set(func() { r.add("s", `["null","long"]`); r.down = true })
	write("\x00\x00\x00\x00\x01\x02")
	later(f, registryLatest)
	write("\x00\x00\x00\x00\x01\x02") // the registry is down
	r.set(func() { r.down = false })
	later(f, registryLatest)
	write("\x00\x00\x00\x00\x02\x02\x02")
	if got, want := len(strings.Split(r.questions(), ",")), 3; got != want {
		t.Errorf("asked %d times, want %d", got, want)
	}
	for answer, want := range map[string]string{
		`{`: `its answer is not as expected`,
		`{"schema":"\"int\"","schemaType":"PROTOBUF"}`: `is not one of Avro`,
		`{"schema":"?"}`:                 `want an Avro schema`,
		strings.Repeat("x", maxSchema+1): `the answer is larger than`,
	} {
		r.set(func() { r.answer = answer })
		if _, err := open(t, r.config(Avro{Subject: "s"})).Encode(nil, v); !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50s: %v, want %s", answer, err, want)
		}
	}
}

func TestRegistryByID(t *testing.T) {
	r := newSchemaRegistry(t)
	r.add("a", `"int"`)
	r.add("a", `"string"`)
	f := open(t, r.config(Avro{}))
	read := func(data, want string) {
		t.Helper()
		tree := new(Tree)
		switch err := f.Decode(tree, []byte(data)); {
		case want[0] == '!':
			if err == nil || !strings.Contains(err.Error(), want[1:]) {
				t.Errorf("%x: %v, want %s", data, err, want)
			}
		case err != nil || asJSON(t, tree.Root()) != want:
			t.Errorf("%x: %s, %v, want %s", data, asJSON(t, tree.Root()), err, want)
		}
	}
	for range 2 {
		read("\x00\x00\x00\x00\x01\x02", `1`)
		read("\x00\x00\x00\x00\x02\x02x", `"x"`)
		read("\x00\x00\x00\x00\x09\x02", `!the registry has no schema 9`)
	}
	read("\x00\x00\x00", `!want a zero byte`)
	read("\x01\x00\x00\x00\x01\x02", `!want a zero byte`)
	if err := f.Decode(new(Tree), []byte("\x00\x00\x00\x00\x09\x02")); errors.Is(err, ErrAway) {
		t.Error("an unknown number is not about the payload")
	}
	r.set(func() { r.down = true })
	read("\x00\x00\x00\x00\x01\x02", `1`)
	read("\x00\x00\x00\x00\x03\x02", `!no schema from the registry `+r.URL+`: 503`)
	if err := f.Decode(new(Tree), []byte("\x00\x00\x00\x00\x03\x02")); !errors.Is(err, ErrAway) {
		t.Errorf("a registry that is down: %v", err)
	}
	if got, want := len(strings.Split(r.questions(), ",")), 4; got != want {
		t.Errorf("asked %d times, want %d", got, want)
	}
	r.set(func() { r.down = false })
	later(f, registryPause)
	for i := range registryKept + 10 { // numbers that nobody has
		_ = f.Decode(new(Tree), []byte{0, 0, 1, byte(i >> 8), byte(i), 0})
	}
	if n := len(registryOf(f).known); n > registryKept {
		t.Errorf("%d answers are kept", n)
	}
	r.set(func() { r.down = true })
	read("\x00\x00\x00\x00\x01\x02", `1`) // unknown numbers have not pushed it out
}

// What the registry says of a number that a device has chosen is not what holds up others, unless it says who may ask or that it fails.
func TestRegistryRefusesNumbers(t *testing.T) {
	for _, c := range []struct {
		status int
		answer string
		away   bool
	}{
		{http.StatusBadRequest, "{}", false},
		{http.StatusUnprocessableEntity, "{}", false},
		{http.StatusOK, strings.Repeat(" ", maxSchema+1), false},
		{http.StatusForbidden, "{}", true},
		{http.StatusBadGateway, strings.Repeat(" ", maxSchema+1), true},
		{http.StatusOK, "<html>", true},
	} {
		r := newSchemaRegistry(t)
		r.add("a", `"int"`)
		f := open(t, r.config(Avro{}))
		r.set(func() { r.status, r.answer = c.status, c.answer })
		if err := f.Decode(new(Tree), []byte("\x00\x00\x00\x00\x09\x02")); err == nil || errors.Is(err, ErrAway) != c.away {
			t.Errorf("%d: %v", c.status, err)
		}
		r.set(func() { r.answer = "" })
		if err := f.Decode(new(Tree), []byte("\x00\x00\x00\x00\x01\x02")); !c.away && err != nil {
			t.Errorf("%d: another number: %v", c.status, err)
		}
	}
}

// Offline, nobody is asked.
func TestRegistryOffline(t *testing.T) {
	r := newSchemaRegistry(t)
	v := decoded(t, jsonFormat{}, `1`).Root()
	f, err := Open(r.config(Avro{Schema: `"int"`, Subject: "s"}), Options{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := encoded(t, f, v); got != "\x00\x00\x00\x00\x00\x02" {
		t.Errorf("%x", got)
	}
	if f, err = Open(r.config(Avro{Subject: "s"}), Options{Offline: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Encode(nil, v); !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), "it is not asked") {
		t.Errorf("%v", err)
	}
	if asked := r.questions(); asked != "" {
		t.Errorf("asked %s", asked)
	}
}

// Many who want the same answer ask once.
func TestRegistryAskedOnce(t *testing.T) {
	r := newSchemaRegistry(t)
	r.add("s", `"int"`)
	f := open(t, r.config(Avro{Schema: `"int"`, Subject: "s"}))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := f.Encode(nil, decoded(t, jsonFormat{}, `1`).Root()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := r.questions(); got != "POST /subjects/s" {
		t.Errorf("asked %s", got)
	}
}
