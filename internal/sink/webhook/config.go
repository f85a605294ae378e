// Package webhook has the sink that posts messages to a service over HTTP, in batches.
package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/longline/longline/internal/registry"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/setting"
)

// Config says where messages are posted, and how.
type Config struct {
	Service string        `yaml:"service" help:"the service, one of services with instances; its timeout and its other bounds hold"`
	Path    string        `yaml:"path" help:"path behind the URL of an instance of the service, such as /telemetry?from=longline"`
	URL     string        `yaml:"url" help:"where messages are posted, in place of service and path"`
	Timeout time.Duration `yaml:"timeout" help:"how long a request to url may take"`
	TLS     setting.TLS   `yaml:"tls" help:"for a url with https"`

	Form    string `yaml:"form" help:"json (an array of objects), cloudevents (a batch of CloudEvents 1.0) or cloudevents_binary (one message per request, CloudEvents 1.0 in its headers)"`
	Source  string `yaml:"source" help:"template of the source of CloudEvents; left out, device/ID or backend"`
	Type    string `yaml:"type" help:"template of the type of CloudEvents"`
	Subject string `yaml:"subject" help:"template of the subject of CloudEvents"`
	Gzip    bool   `yaml:"gzip" help:"compress the bodies of requests"`

	Headers      map[string]string `yaml:"headers" help:"headers of all requests"`
	Token        setting.Secret    `yaml:"token" help:"bearer token in the header Authorization"`
	Secret       setting.Secret    `yaml:"secret" help:"signs requests: HMAC-SHA256 in the header Longline-Signature"`
	SecondSecret setting.Secret    `yaml:"second_secret" help:"signs requests as well, while secret is being replaced"`
}

var _ setting.Section[Config] = Config{}

// The values of Config.Form.
const (
	JSON              = "json"
	CloudEvents       = "cloudevents"
	CloudEventsBinary = "cloudevents_binary"
)

var forms = []string{JSON, CloudEvents, CloudEventsBinary}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Form = cmp.Or(c.Form, JSON)
	c.Timeout = cmp.Or(c.Timeout, 10*time.Second)
	c.Type = cmp.Or(c.Type, "longline.message")
	c.Subject = cmp.Or(c.Subject, "{topic}")
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	errs := []error{c.checkPlace()}
	if !slices.Contains(forms, c.Form) {
		errs = append(errs, fmt.Errorf("form: want one of %s, not %q", strings.Join(forms, ", "), c.Form))
	}
	if c.Timeout < time.Millisecond || c.Timeout > time.Hour {
		errs = append(errs, fmt.Errorf("timeout: want 1ms to 1h, not %v", c.Timeout))
	}
	if c.SecondSecret.Given() && !c.Secret.Given() {
		errs = append(errs, errors.New("second_secret: want secret as well"))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		switch {
		case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(c.Headers[name]):
			errs = append(errs, fmt.Errorf("headers.%s: HTTP does not allow this name or value", name))
		case isOurs(name), c.Token.Given() && strings.EqualFold(name, "authorization"):
			errs = append(errs, fmt.Errorf("headers.%s: the sink sets this header itself", name))
		}
	}
	_, err := c.templates()
	return errors.Join(append(errs, err)...)
}

// checkPlace returns what is wrong with where messages go.
func (c Config) checkPlace() error {
	switch {
	case (c.Service == "") == (c.URL == ""):
		return errors.New("url: want url or service, and not both")
	case c.Service != "" && c.TLS != (setting.TLS{}):
		return errors.New("tls: the service has its own")
	case c.Service != "" && c.Path != "" && (c.Path[0] != '/' || !printable(c.Path)):
		return fmt.Errorf("path: want a path such as /telemetry, not %q", c.Path)
	case c.Service != "":
		return nil
	case c.Path != "":
		return errors.New("path: it is in url")
	}
	s, _, err := c.inline(1)
	s.Timeout = 0 // checked by its own key
	if err == nil {
		err = s.WithDefaults().Validate()
	}
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	return nil
}

// maxAnswer bounds the answer to a request to a URL, in bytes.
const maxAnswer = 64 << 10

// inline returns the service that is at the URL, and the part of the URL behind the host.
func (c Config) inline(lanes int) (service.Config, string, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return service.Config{}, "", errors.New("want an http or https URL")
	case u.User != nil:
		return service.Config{}, "", errors.New("it has a password: use token or headers")
	}
	return service.Config{
		Source:      registry.Source{Instances: []string{(&url.URL{Scheme: u.Scheme, Host: u.Host}).String()}},
		Timeout:     c.Timeout,
		Concurrency: lanes,
		MaxAnswer:   maxAnswer,
		TLS:         c.TLS,
	}, u.RequestURI(), nil
}

// templates are the parsed templates of CloudEvents.
type templates struct {
	source, typ, subject route.Template
	ownSource            bool // source is not the default
}

// maxAttribute bounds an attribute of a CloudEvent that a template makes, in bytes.
const maxAttribute = 4 << 10

func (c Config) templates() (t templates, err error) {
	var errs []error
	for _, e := range []struct {
		key, text string
		to        *route.Template
	}{{"source", c.Source, &t.source}, {"type", c.Type, &t.typ}, {"subject", c.Subject, &t.subject}} {
		parsed, err := route.ParseTemplate(e.text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.key, err))
		}
		*e.to = parsed.AtMost(maxAttribute)
	}
	t.ownSource = c.Source != ""
	return t, errors.Join(errs...)
}

// isOurs reports whether a header is one that the sink, or the HTTP client, sets itself.
func isOurs(name string) bool {
	name = strings.ToLower(name)
	return slices.Contains([]string{
		"connection", "content-encoding", "content-length", "content-type", "host", "idempotency-key", "te", "trailer", "transfer-encoding", "upgrade",
	}, name) || strings.HasPrefix(name, "longline-") || strings.HasPrefix(name, "ce-")
}

// printable reports whether a text is printable ASCII without blanks.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
