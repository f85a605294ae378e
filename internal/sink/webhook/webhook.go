package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/net/http/httpguts"

	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/sink/pump"
)

// target posts records to a service.
type target struct {
	// Static after construction.
	service *service.Service // nil in a check of the configuration
	own     bool             // the service is the target's own
	path    string           // with the query
	form    form
	headers http.Header // of all requests
	token   func() []byte
	secrets []func() []byte
	gzip    bool
	now     func() time.Time

	doubts doubts
}

// Open implements what pump.Options says of targets.
func Open(c Config, o pump.Options) (pump.Target, error) {
	t, err := open(c, o)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func open(c Config, o pump.Options) (t *target, err error) {
	t = &target{path: c.Path, headers: make(http.Header, len(c.Headers)), gzip: c.Gzip, now: time.Now}
	if t.form, err = newForm(c); err != nil {
		return nil, err
	}
	for name, value := range c.Headers {
		t.headers.Set(name, value)
	}
	t.headers.Set("Longline-Sink", o.Name)
	if t.token, err = c.Token.Follow(o.Watcher, checkToken); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	secret, err := c.Secret.Follow(o.Watcher, nil)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	second, err := c.SecondSecret.Follow(o.Watcher, nil)
	if err != nil {
		return nil, fmt.Errorf("second_secret: %w", err)
	}
	t.secrets = []func() []byte{secret, second}
	return t, t.openService(c, o)
}

func checkToken(token []byte) error {
	if !httpguts.ValidHeaderFieldValue(string(token)) {
		return errors.New("HTTP does not allow this in a header")
	}
	return nil
}

// openService finds the service, or opens one for the URL.
func (t *target) openService(c Config, o pump.Options) error {
	switch {
	case c.URL != "":
		inline, path, err := c.inline(o.Lanes)
		if err != nil {
			return fmt.Errorf("url: %w", err)
		}
		t.path, t.own = path, true
		if t.service, err = service.Open("sink "+o.Name, inline, o.Watcher, o.Log); err != nil {
			return fmt.Errorf("url: %w", err)
		}
	case o.Services != nil:
		if t.service = o.Services.Get(c.Service); t.service == nil {
			return fmt.Errorf("service: there is no service %s", c.Service)
		}
	}
	return nil
}

// Close implements pump.Target.
func (t *target) Close() {
	if t.own {
		t.service.Close()
	}
}

// Send implements pump.Target. A batch that is refused is cut in halves until the message is found that is refused alone.
func (t *target) Send(ctx context.Context, records []*pump.Record) (done int, err error) {
	bad := 0 // records[done:bad] were refused together
	for done < len(records) {
		n := len(records) - done
		if bad > done {
			n = max(1, (bad-done)/2)
		}
		if t.form.single() {
			n = 1
		}
		switch err := t.post(ctx, records[done:done+n]); {
		case err == nil:
			done += n
		case pump.IsRefused(err) && n > 1:
			bad = done + n
		default:
			return done, err
		}
	}
	return done, nil
}

// post sends one request with these records. The error is of pump.Refused if the receiver does not take them together.
func (t *target) post(ctx context.Context, records []*pump.Record) error {
	if t.service == nil {
		return pump.Misconfigured(errors.New("there is no service"))
	}
	r, err := t.request(records)
	if err != nil {
		return err
	}
	a, err := t.service.Do(ctx, r)
	switch {
	case errors.Is(err, service.ErrServed), errors.Is(err, service.ErrGRPC):
		return pump.Misconfigured(err)
	case err != nil:
		t.doubts.reset()
		return later(service.Pause(err), err)
	}
	return t.verdict(a, records)
}

// request returns the request with these records. It may be sent twice, because both have the same key.
func (t *target) request(records []*pump.Record) (*service.Request, error) {
	header := t.headers.Clone()
	body := t.form.body(records, header)
	if header.Get(keyHeader) == "" {
		sum := sha256.Sum256(body)
		header.Set(keyHeader, hex.EncodeToString(sum[:16]))
	}
	if t.gzip {
		var err error
		if body, err = compress(body); err != nil {
			return nil, err
		}
		header.Set("Content-Encoding", "gzip")
	}
	if token := t.token(); len(token) > 0 {
		header.Set("Authorization", "Bearer "+string(token))
	}
	if s := signature(t.now(), body, t.secrets...); s != "" {
		header.Set(signatureHeader, s)
	}
	return &service.Request{Method: http.MethodPost, Path: t.path, Header: header, Body: body, Idempotent: true}, nil
}

// keyHeader names the same batch each time it is sent.
const keyHeader = "Idempotency-Key"

var compressors = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return w
}}

func compress(body []byte) ([]byte, error) {
	w := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	_, err := w.Write(body)
	err = errors.Join(err, w.Close())
	return b.Bytes(), err
}

// verdict returns what an answer says of the records of its request.
func (t *target) verdict(a *service.Answer, records []*pump.Record) error {
	meaning := meaningOf(a.Status, t.form.single())
	switch meaning {
	case taken, refused:
		t.doubts.answered(records, t.now())
	case failed:
		t.doubts.reset()
	case wrong:
		meaning = t.doubts.wrong(records, t.now())
	}
	err := statusError(a)
	switch meaning {
	case taken:
		return nil
	case refused:
		return pump.Refused(err)
	case wrong:
		return pump.Misconfigured(err)
	}
	return later(a.Pause(), err)
}

// meaning is what a status says of a request.
type meaning uint8

const (
	taken   meaning = iota // the receiver has the messages
	refused                // it does not want these
	failed                 // it may want them later
	wrong                  // it wants no such requests: the URL or the credentials are wrong
)

// meaningOf returns the meaning of a status. single says that a request has one message.
func meaningOf(status int, single bool) meaning {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return refused
	case http.StatusUnsupportedMediaType, http.StatusRequestHeaderFieldsTooLarge: // these headers are a message's only if it is alone
		if single {
			return refused
		}
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return failed
	}
	switch status / 100 {
	case 2:
		return taken
	case 5:
		return failed
	}
	return wrong
}

// later returns err with the pause that the receiver asks for, if it does.
func later(pause time.Duration, err error) error {
	if pause > 0 {
		return pump.RetryAfter(pause, err)
	}
	return err
}

// statusError returns an answer as an error, with the beginning of its text.
func statusError(a *service.Answer) error {
	const most = 512
	if text := service.CutReason(string(a.Body[:min(len(a.Body), most)])); text != "" {
		return fmt.Errorf("status %d: %s", a.Status, text)
	}
	return fmt.Errorf("status %d", a.Status)
}
