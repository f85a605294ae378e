// Package nats has the sink that publishes messages to streams of NATS JetStream.
package nats

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/setting"
)

// Config says where messages are published, and how.
type Config struct {
	Servers     []string       `yaml:"servers" help:"URLs of the servers, or of some of a cluster: nats://host:4222, or tls://host:4222"`
	Username    string         `yaml:"username" help:"user at the servers"`
	Password    setting.Secret `yaml:"password" help:"password of the user"`
	Token       setting.Secret `yaml:"token" help:"token, in place of a user"`
	NKey        setting.Secret `yaml:"nkey" help:"seed of an nkey, in place of a user"`
	Credentials setting.Secret `yaml:"credentials" help:"credentials as in a .creds file, a JWT with its seed, in place of a user"`
	TLS         setting.TLS    `yaml:"tls" help:"certificates"`
	Timeout     time.Duration  `yaml:"timeout" help:"how long the servers may take to accept a connection, or to acknowledge a message"`

	Subject string `yaml:"subject" help:"template of the subject, such as telemetry.{source}; a JetStream stream must have it"`
	Stream  string `yaml:"stream" help:"the JetStream stream that must have the subject; left out, any"`
}

var _ setting.Section[Config] = Config{}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(len(c.Servers) == 0, "servers: want a URL such as nats://host:4222")
	for _, s := range c.Servers {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" || u.Path != "":
			bad(true, "servers: want a URL such as nats://host:4222 or tls://host:4222")
		case u.User != nil:
			bad(true, "servers: the URL has a password: use username and password")
		}
	}
	ways := 0
	for _, given := range []bool{c.Username != "" || c.Password.Given(), c.Token.Given(), c.NKey.Given(), c.Credentials.Given()} {
		if given {
			ways++
		}
	}
	bad((c.Username != "") != c.Password.Given(), "username: want both username and password, or none")
	bad(ways > 1, "token: want one of username, token, nkey, credentials")
	if err := c.TLS.Validate(); err != nil {
		bad(true, "tls.%w", err)
	}
	bad(c.Timeout < 10*time.Millisecond || c.Timeout > 5*time.Minute, "timeout: want 10ms to 5m, not %v", c.Timeout)
	bad(strings.ContainsAny(c.Stream, " .*>/\\\t\r\n"), "stream: want a stream's name, not %q", c.Stream)
	subject, err := c.subject()
	switch {
	case c.Subject == "":
		bad(true, "subject: want a subject, or a template of one")
	case err != nil:
		bad(true, "subject: %w", err)
	case subject.Literal():
		if err := checkSubject(c.Subject); err != nil {
			bad(true, "subject: %w", err)
		}
	}
	return errors.Join(errs...)
}

// maxSubject bounds a subject, in bytes: the server bounds the line in which it is.
const maxSubject = 1 << 10

func (c Config) subject() (route.Template, error) {
	t, err := route.ParseTemplate(c.Subject)
	return t.AtMost(maxSubject), err
}

// checkSubject returns why nothing is published on a subject. Those that begin with $ or _INBOX are the servers' own: a message on one of them
// may be an order to delete a stream.
func checkSubject(subject string) error {
	switch {
	case subject == "" || subject[0] == '.' || subject[len(subject)-1] == '.' || strings.Contains(subject, ".."):
		return fmt.Errorf("the subject %q has an empty part", subject)
	case strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '*' || r == '>' }):
		return fmt.Errorf("the subject %q has a wildcard, a blank or a control character", subject)
	case subject[0] == '$' || subject == "_INBOX" || strings.HasPrefix(subject, "_INBOX."):
		return fmt.Errorf("the subject %q is for servers alone", subject)
	}
	return nil
}

// checkSeed returns what is wrong with the seed of an nkey.
func checkSeed(seed []byte) error {
	keys, err := nkeys.FromSeed(seed)
	if err != nil {
		return errors.New("want the seed of a user's nkey")
	}
	defer keys.Wipe()
	if public, err := keys.PublicKey(); err != nil || !nkeys.IsValidPublicUserKey(public) {
		return errors.New("want the seed of a user's nkey")
	}
	return nil
}

// checkCredentials returns what is wrong with credentials.
func checkCredentials(text []byte) error {
	if _, err := nkeys.ParseDecoratedJWT(text); err != nil {
		return errors.New("want a JWT and its seed, as in a .creds file")
	}
	if _, err := nkeys.ParseDecoratedUserNKey(text); err != nil {
		return errors.New("want a JWT and its seed, as in a .creds file")
	}
	return nil
}
