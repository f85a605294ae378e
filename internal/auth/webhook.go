package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/service"
)

// webhook asks a service to verify credentials. It posts a question as JSON. Status 200 with an
// answer accepts, 401 and 403 refuse with the answer's reason; anything else, and no answer,
// is a failure.
type webhook struct {
	// Static after construction.
	config  Webhook
	service *service.Service // nil in a check of the configuration
	path    string           // of the question, with the query
	secret  func() []byte    // bearer token, empty when there is none
	life    context.Context  // the chain's: when it ends, requests end

	// Safe from any goroutine.
	breaker  *limit.Breaker // the service's
	turns    *semaphore.Weighted
	flights  singleflight.Group
	accepted *cache
}

// question is the body of the request: what the device presented.
type question struct {
	Device      string         `json:"device,omitempty"`
	Remote      string         `json:"remote,omitempty"`
	Protocol    string         `json:"protocol,omitempty"`
	Token       string         `json:"token,omitempty"`
	Username    string         `json:"username,omitempty"`
	Password    string         `json:"password,omitempty"`
	Certificate *clientSubject `json:"certificate,omitempty"`
}

// clientSubject describes a client certificate.
type clientSubject struct {
	Subject string   `json:"subject"`
	Serial  string   `json:"serial"` // hexadecimal
	SHA256  string   `json:"sha256"` // of its DER
	DNS     []string `json:"dns,omitempty"`
	Email   []string `json:"email,omitempty"`
	URI     []string `json:"uri,omitempty"`
}

// answer is the service's answer; no field is required.
type answer struct {
	Device      string    `json:"device"` // when left out, the one that the client claimed
	ID          string    `json:"id"`     // of the credential, for revocation
	Subject     string    `json:"subject"`
	Expires     time.Time `json:"expires"`     // RFC 3339; when the device has to authenticate again
	Permissions *Filters  `json:"permissions"` // when left out, the configured ones; a missing list is empty
	Reason      string    `json:"reason"`      // of a refusal
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 10

func newWebhook(ctx context.Context, config Webhook, services *service.Set, w *reload.Watcher, now func() time.Time) (*webhook, error) {
	secret, err := config.Secret.Follow(w, nil)
	if err != nil {
		return nil, err
	}
	h := &webhook{
		config:   config,
		path:     config.Path,
		secret:   secret,
		life:     ctx,
		turns:    semaphore.NewWeighted(int64(config.Concurrency)),
		accepted: newCache(config.CacheSize, now),
	}
	switch {
	case config.Service == "":
		if h.service, h.path, err = openURL(config, w); err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, h.service.Close)
	case services != nil:
		if h.service = services.Get(config.Service); h.service == nil {
			return nil, fmt.Errorf("service: there is no service %s", config.Service)
		}
	}
	if h.service != nil {
		h.breaker = h.service.Breaker()
	}
	return h, nil
}

// openURL opens the service that is at a URL. It returns the part of the URL behind the host as well.
func openURL(config Webhook, w *reload.Watcher) (*service.Service, string, error) {
	u, err := url.Parse(config.URL)
	if err != nil {
		return nil, "", err
	}
	s, err := service.Open("webhook", service.Config{
		Source:      registry.Source{Instances: []string{(&url.URL{Scheme: u.Scheme, Host: u.Host}).String()}},
		Timeout:     config.Timeout,
		Concurrency: config.Concurrency,
		MaxAnswer:   maxAnswer,
		OpenAfter:   config.OpenAfter,
		OpenFor:     config.OpenFor,
	}, w, slog.Default())
	return s, u.RequestURI(), err
}

// failed reports whether err is a failure of the service, and not a refusal.
func failed(err error) bool {
	var refusal *Refusal
	return err != nil && !errors.As(err, &refusal)
}

func (w *webhook) breakers() []*limit.Breaker {
	if w.breaker == nil {
		return nil
	}
	return []*limit.Breaker{w.breaker}
}

// Verify sends one request for all concurrent callers with the same question. So the request does not end with
// the context of one of them, but after twice the timeout at the latest.
func (w *webhook) Verify(ctx context.Context, c *Credentials) (*Identity, error) {
	if c.none() {
		return nil, ErrNotMine
	}
	body, err := json.Marshal(newQuestion(c))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	key := digest(sha256.Sum256(body))
	flight := w.flights.DoChan(string(key[:]), func() (any, error) { return w.ask(key, body, c.Device) })
	select {
	case r := <-flight:
		return r.Val.(*Identity), r.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: webhook: %w", ErrUnavailable, ctx.Err())
	}
}

// ask returns the answer that is in the cache, or sends a request and caches an acceptance. The timeout of
// the request begins after turn: waiting for a turn is no failure of the service.
func (w *webhook) ask(key digest, body []byte, claimed string) (*Identity, error) {
	if i, ok := w.accepted.get(key); ok {
		return i, nil
	}
	if !w.turn() {
		return nil, fmt.Errorf("%w: webhook: too many concurrent requests", ErrUnavailable)
	}
	defer w.turns.Release(1)
	ctx, cancel := context.WithTimeout(w.life, w.config.Timeout)
	defer cancel()
	i, err := w.post(ctx, body, claimed)
	if failed(err) {
		return nil, fmt.Errorf("%w: webhook: %w", ErrUnavailable, err)
	}
	if err == nil {
		w.accepted.put(key, i, w.config.CacheTTL)
	}
	return i, err
}

// turn waits for one of Concurrency places, at most for the timeout, and reports whether it got one.
func (w *webhook) turn() bool {
	ctx, cancel := context.WithTimeout(w.life, w.config.Timeout)
	defer cancel()
	return w.turns.Acquire(ctx, 1) == nil
}

// post sends the question. It is not idempotent: a service that counts wrong passwords must not see one twice.
func (w *webhook) post(ctx context.Context, body []byte, claimed string) (i *Identity, err error) {
	if w.service == nil {
		return nil, errors.New("there is no service")
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if secret := w.secret(); len(secret) > 0 {
		header["Authorization"] = []string{"Bearer " + string(secret)}
	}
	var refusal error
	_, err = w.service.Do(ctx, &service.Request{
		Method: http.MethodPost, Path: w.path, Header: header, Body: body,
		Check: func(a *service.Answer) error {
			i, err = readAnswer(a.Status, a.Body, claimed)
			if failed(err) {
				return err
			}
			refusal = err
			return nil
		},
	})
	if err == nil {
		err = refusal
	}
	return i, err
}

// readAnswer makes an identity or a refusal of an answer. Any other error is a failure of the service.
func readAnswer(status int, text []byte, claimed string) (*Identity, error) {
	var a answer
	err := json.Unmarshal(text, &a)
	switch status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, refuse(reasonOf(a.Reason))
	default:
		return nil, fmt.Errorf("status %d", status)
	}
	if err != nil {
		return nil, err
	}
	i := &Identity{Device: a.Device, ID: a.ID, Subject: a.Subject, Expires: a.Expires}
	if i.Device == "" {
		i.Device = claimed
	}
	if a.Permissions != nil {
		i.Permissions, err = NewPermissions(*a.Permissions)
	}
	return i, err
}

// reasonOf shortens the service's reason so that it fits into a header or a close frame.
func reasonOf(reason string) string {
	const most = 100 // bytes
	reason = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, reason)
	if reason == "" {
		return "the credential is not accepted"
	}
	return reason[:min(most, len(reason))]
}

func newQuestion(c *Credentials) *question {
	q := &question{Device: c.Device, Protocol: c.Protocol, Token: c.Bearer, Username: c.Username, Password: c.Password}
	if c.Remote.IsValid() {
		q.Remote = c.Remote.String()
	}
	if len(c.Certificates) > 0 {
		q.Certificate = newClientSubject(c.Certificates[0])
	}
	return q
}

func newClientSubject(c *x509.Certificate) *clientSubject {
	sum := sha256.Sum256(c.Raw)
	s := &clientSubject{
		Subject: c.Subject.String(),
		Serial:  c.SerialNumber.Text(16),
		SHA256:  hex.EncodeToString(sum[:]),
		DNS:     c.DNSNames,
		Email:   c.EmailAddresses,
	}
	for _, u := range c.URIs {
		s.URI = append(s.URI, u.String())
	}
	return s
}
