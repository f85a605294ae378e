// Package kafka makes clients of Kafka for sinks and sources: addresses, TLS, users, what goes wrong in words, and numbers that are kept in
// Kafka as offsets of a group.
package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/longline/longline/internal/setting"
)

// Config says which brokers there are, and how to connect to them.
type Config struct {
	Brokers  []string `yaml:"brokers" help:"addresses of some brokers, such as kafka-1:9092; the others are learnt from them"`
	ClientID string   `yaml:"client_id" help:"the name that brokers see, in quotas and logs; names of groups and transactions begin with it. Gateways that are not of one fleet and share a Kafka need different ones"`
	TLS      TLS      `yaml:"tls" help:"encryption"`
	SASL     SASL     `yaml:"sasl" help:"the user"`
}

// TLS says whether connections are encrypted.
type TLS struct {
	Enabled     bool `yaml:"enabled" help:"connect by TLS"`
	setting.TLS `yaml:",inline"`
}

// The mechanisms of SASL.
const (
	Plain       = "plain"
	ScramSHA256 = "scram-sha-256"
	ScramSHA512 = "scram-sha-512"
)

var mechanisms = []string{Plain, ScramSHA256, ScramSHA512}

// SASL says as which user the gateway connects.
type SASL struct {
	Mechanism string         `yaml:"mechanism" help:"plain, scram-sha-256 or scram-sha-512; left out, there is no user"`
	User      string         `yaml:"user" help:"the user's name"`
	Password  setting.Secret `yaml:"password" help:"the user's password"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.ClientID = cmp.Or(c.ClientID, "longline")
	return c
}

const (
	mostBrokers  = 100
	mostClientID = 100
)

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	var errs []error
	if len(c.Brokers) == 0 || len(c.Brokers) > mostBrokers {
		errs = append(errs, fmt.Errorf("brokers: want 1 to %d addresses such as kafka-1:9092", mostBrokers))
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("brokers: want an address such as kafka-1:9092, not %q", setting.WithoutUser(b)))
		}
	}
	if !ValidName(c.ClientID) || len(c.ClientID) > mostClientID {
		errs = append(errs, fmt.Errorf("client_id: want 1 to %d of A-Z a-z 0-9 . _ -", mostClientID))
	}
	if err := c.TLS.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("tls.%w", err))
	}
	if !c.TLS.Enabled && c.TLS.TLS != (setting.TLS{}) {
		errs = append(errs, errors.New("tls.enabled: want true, because there are options for TLS"))
	}
	s := c.SASL
	switch {
	case s.Mechanism == "" && (s.User != "" || s.Password.Given()):
		errs = append(errs, fmt.Errorf("sasl.mechanism: want one of %s", strings.Join(mechanisms, ", ")))
	case s.Mechanism != "" && !slices.Contains(mechanisms, s.Mechanism):
		errs = append(errs, fmt.Errorf("sasl.mechanism: want one of %s, not %q", strings.Join(mechanisms, ", "), s.Mechanism))
	case s.Mechanism != "" && s.User == "":
		errs = append(errs, errors.New("sasl.user: want a name"))
	case s.Mechanism != "" && !s.Password.Given():
		errs = append(errs, errors.New("sasl.password: want a password"))
	}
	return errors.Join(errs...)
}

const mostName = 249

// ValidName reports whether name may be the name of a topic in Kafka.
func ValidName(name string) bool {
	if name == "" || len(name) > mostName || name == "." || name == ".." {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
