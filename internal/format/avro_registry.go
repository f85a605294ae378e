package format

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Bounds of what a schema registry is asked.
const (
	registryDeadline = 5 * time.Second // for an answer
	registryPause    = time.Second     // for which a failure is the answer to the same question, or to all if the registry does not answer
	registryUnknown  = time.Minute     // the same for "there is no such schema"
	registryLatest   = 5 * time.Minute // for which the latest schema of a subject is taken to be the latest
	registryKept     = 1024            // answers
	maxSchema        = 1 << 20         // bytes of an answer
)

// registry asks a schema registry that speaks Confluent's REST, and remembers the answers. Safe from any goroutine. One request per question
// is under way; all callers that want the same answer wait for it, up to registryDeadline. No lock is held meanwhile.
type registry struct {
	// Static after construction.
	address  string
	user     string
	register bool
	offline  bool
	password func() []byte
	token    func() []byte
	client   *http.Client

	log *slog.Logger

	asking singleflight.Group

	// Guarded by mu.
	mu    sync.Mutex
	known map[question]*answer
	down  *answer // to all questions, for registryPause after the registry has failed
}

// question is what the registry was asked: for the schema of a number, the latest of a subject, or the number of a schema under a subject.
type question struct {
	number  uint32
	subject string
	schema  *avroSchema
}

// answer is what the registry said.
type answer struct {
	id     uint32
	schema *avroSchema
	err    error
	until  time.Time // zero: it never changes
}

// openRegistry makes a registry; it asks nothing yet. An error begins with the key.
func openRegistry(c Registry, o Options) (*registry, error) {
	r := &registry{
		address: strings.TrimSuffix(c.URL, "/"), user: c.User, register: c.Register, offline: o.Offline, known: make(map[question]*answer), log: o.Log,
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if r.password, err = c.Password.Follow(o.Watcher, nil); err != nil {
		return nil, fmt.Errorf("password_file: %w", err)
	}
	if r.token, err = c.Token.Follow(o.Watcher, nil); err != nil {
		return nil, fmt.Errorf("token_file: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // a registry is near
	transport.MaxConnsPerHost = 4
	if transport.DialTLSContext, err = c.TLS.Dialer(o.Watcher, nil, "http/1.1"); err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	// A redirect is not followed: headers may hold a password.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	r.client = &http.Client{Transport: transport, CheckRedirect: stay}
	return r, nil
}

// byID returns the schema of that number. That there is none is an error about the payload.
func (r *registry) byID(id uint32) (*avroSchema, error) {
	a := r.ask(question{number: id}, func(ctx context.Context) *answer {
		number := strconv.FormatUint(uint64(id), 10)
		var got struct {
			Schema     string            `json:"schema"`
			SchemaType string            `json:"schemaType"`
			References []json.RawMessage `json:"references"`
		}
		switch code, err := r.call(ctx, http.MethodGet, "/schemas/ids/"+number, nil, &got); {
		case code == http.StatusNotFound: // an answer about the payload
			return &answer{err: fmt.Errorf("the registry has no schema %s", number), until: time.Now().Add(registryUnknown)}
		case slices.Contains(aboutNumber, code), errors.Is(err, errLargeAnswer): // a device must not hold up others by a number that it chose
			return &answer{err: fmt.Errorf("schema %s: the registry says: %w", number, err), until: time.Now().Add(registryUnknown)}
		case err != nil:
			return r.away(err)
		case got.SchemaType != "" && got.SchemaType != "AVRO":
			return &answer{err: fmt.Errorf("schema %s is of type %q, not AVRO", number, got.SchemaType)}
		case len(got.References) > 0:
			return &answer{err: fmt.Errorf("schema %s refers to other subjects, which this gateway does not read", number)}
		}
		schema, err := readAvroSchema([]byte(got.Schema))
		if err != nil {
			err = fmt.Errorf("schema %s: %w", number, err)
		}
		return &answer{id: id, schema: schema, err: err}
	})
	return a.schema, a.err
}

// aboutNumber are the refusals that are about a number, and not about who asks.
var aboutNumber = []int{http.StatusBadRequest, http.StatusGone, http.StatusUnprocessableEntity}

var errNoSubject = fmt.Errorf("%w: the configuration names no subject to write", ErrAway)

// latest returns the latest schema of a subject, with its number.
func (r *registry) latest(subject string) (uint32, *avroSchema, error) {
	if subject == "" {
		return 0, nil, errNoSubject
	}
	a := r.ask(question{subject: subject}, func(ctx context.Context) *answer {
		var got struct {
			ID         uint32            `json:"id"`
			Schema     string            `json:"schema"`
			SchemaType string            `json:"schemaType"`
			References []json.RawMessage `json:"references"`
		}
		if _, err := r.call(ctx, http.MethodGet, "/subjects/"+url.PathEscape(subject)+"/versions/latest", nil, &got); err != nil {
			return r.away(err)
		}
		if got.SchemaType != "" && got.SchemaType != "AVRO" || len(got.References) > 0 {
			return r.away(fmt.Errorf("the latest schema of %s is not one of Avro without references", subject))
		}
		schema, err := readAvroSchema([]byte(got.Schema))
		if err != nil {
			return r.away(fmt.Errorf("the latest schema of %s: %w", subject, err))
		}
		return &answer{id: got.ID, schema: schema, until: time.Now().Add(registryLatest)}
	})
	return a.id, a.schema, a.err
}

// idOf returns the number of a schema under a subject. If the registry does not have it, it is registered, or an error.
func (r *registry) idOf(subject string, schema *avroSchema) (uint32, error) {
	a := r.ask(question{subject: subject, schema: schema}, func(ctx context.Context) *answer {
		var got struct {
			ID uint32 `json:"id"`
		}
		body, err := json.Marshal(map[string]string{"schema": string(schema.text)})
		if err != nil {
			return r.away(err)
		}
		path := "/subjects/" + url.PathEscape(subject)
		if r.register { // it returns the number also of a schema that is there
			path += "/versions"
		}
		code, err := r.call(ctx, http.MethodPost, path, body, &got)
		if code == http.StatusNotFound && !r.register {
			err = fmt.Errorf("%w; register it, or set register", err)
		}
		if err != nil {
			return r.away(err)
		}
		return &answer{id: got.ID}
	})
	return a.id, a.err
}

// away is an answer for now.
func (r *registry) away(err error) *answer {
	return &answer{err: fmt.Errorf("%w %s: %w", ErrAway, r.address, err), until: time.Now().Add(registryPause)}
}

// ask returns the answer to a question: what is known, or what the registry says.
func (r *registry) ask(q question, find func(context.Context) *answer) *answer {
	if a := r.recall(q, time.Now()); a != nil {
		return a
	}
	if r.offline {
		return r.away(errors.New("it is not asked"))
	}
	a, _, _ := r.asking.Do(fmt.Sprintf("%d %q %p", q.number, q.subject, q.schema), func() (any, error) {
		if a := r.recall(q, time.Now()); a != nil { // another has just asked
			return a, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), registryDeadline)
		defer cancel()
		a := find(ctx)
		return r.remember(q, a), nil
	})
	return a.(*answer)
}

// recall returns an answer that still holds, or nil.
func (r *registry) recall(q question, now time.Time) *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.known[q]; a.holds(now) {
		return a
	}
	if r.down.holds(now) && (r.known[q] == nil || r.known[q].schema == nil) {
		return r.down
	}
	return nil
}

// holds reports whether a is an answer, and not too old.
func (a *answer) holds(now time.Time) bool {
	return a != nil && (a.until.IsZero() || now.Before(a.until))
}

// remember keeps an answer, and returns it. If the registry fails, the latest schema from before stays the latest.
func (r *registry) remember(q question, a *answer) *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.known[q]; old != nil && old.schema != nil && errors.Is(a.err, ErrAway) {
		a = &answer{id: old.id, schema: old.schema, until: time.Now().Add(registryLatest)}
	}
	if len(r.known) >= registryKept {
		r.forget()
	}
	r.known[q] = a
	return a
}

// forget makes room for an answer: it forgets errors, of which devices can cause any number, or if there are none one answer, which is asked for
// again if it is needed. r is locked.
func (r *registry) forget() {
	maps.DeleteFunc(r.known, func(_ question, a *answer) bool { return a.err != nil })
	for q := range r.known {
		if len(r.known) < registryKept {
			return
		}
		delete(r.known, q)
	}
}

// fails notes that the registry does not answer, and logs it: at most once per registryPause.
func (r *registry) fails(err error) {
	r.log.Warn("the schema registry fails", "url", r.address, "err", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = r.away(err)
}

// call asks the registry, and reads a good answer into result. The code is 0 if there is no answer.
func (r *registry) call(ctx context.Context, method, path string, body []byte, result any) (code int, err error) {
	if code, err = r.exchange(ctx, method, path, body, result); err != nil && (code == 0 || code >= 500 || code == http.StatusTooManyRequests) {
		r.fails(err)
	}
	return code, err
}

// errLargeAnswer is about one schema: a registry that has others answers.
var errLargeAnswer = fmt.Errorf("the answer is larger than %d bytes", maxSchema)

func (r *registry) exchange(ctx context.Context, method, path string, body []byte, result any) (code int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, r.address+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "application/vnd.schemaregistry.v1+json, application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	}
	if token := r.token(); len(token) > 0 {
		req.Header.Set("Authorization", "Bearer "+string(token))
	} else if r.user != "" {
		req.SetBasicAuth(r.user, string(r.password()))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxSchema+1))
	switch {
	case err != nil:
		return 0, err
	case resp.StatusCode != http.StatusOK:
		return resp.StatusCode, complaint(resp.Status, answer)
	case len(answer) > maxSchema:
		return resp.StatusCode, errLargeAnswer
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return 0, fmt.Errorf("its answer is not as expected: %w", err)
	}
	return resp.StatusCode, nil
}

// complaint is the error that an answer says.
func complaint(status string, answer []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(answer, &said) != nil || said.Message == "" {
		return errors.New(status)
	}
	return fmt.Errorf("%s: %s", status, showText(said.Message))
}

// validate returns what is wrong with a registry's section. The error begins with the key.
func (c Registry) validate() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("url: want a URL such as http://registry:8081, without a name or password")
	case c.Token.Given() && (c.User != "" || c.Password.Given()):
		return errors.New("token: want a token, or user and password")
	case (c.User == "") != !c.Password.Given():
		return errors.New("user: want both user and password, or none")
	}
	if err := c.TLS.Validate(); err != nil {
		return fmt.Errorf("tls.%w", err)
	}
	return nil
}
