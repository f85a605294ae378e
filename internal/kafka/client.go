package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/longline/longline/internal/reload"
)

// Cluster makes clients of one Kafka. It is safe from any goroutine.
type Cluster struct {
	options []kgo.Opt
	trouble atomic.Pointer[error] // of the last connection; nil if that was made
}

// Open reads the files that c, which is valid and has its defaults, names; w reads them again when they change. It contacts nobody.
// Errors begin with the key.
func Open(c Config, w *reload.Watcher, log *slog.Logger) (*Cluster, error) {
	k := new(Cluster)
	k.options = []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.DisableClientMetrics(),
		kgo.DialTimeout(dialTime),
		kgo.RetryBackoffFn(backoff),
		kgo.RetryTimeout(retryTime),
		kgo.MetadataMinAge(leastAge),
		kgo.WithHooks(hook{k}),
		kgo.WithLogger(&logger{log: log, told: make(map[string]time.Time)}),
	}
	if c.TLS.Enabled {
		dial, err := c.TLS.Dialer(w, &net.Dialer{Timeout: dialTime})
		if err != nil {
			return nil, fmt.Errorf("tls.%w", err)
		}
		k.options = append(k.options, kgo.Dialer(dial))
	}
	if c.SASL.Mechanism == "" {
		return k, nil
	}
	password, err := c.SASL.Password.Follow(w, nil)
	if err != nil {
		return nil, fmt.Errorf("sasl.password_file: %w", err)
	}
	user := func(context.Context) (scram.Auth, error) {
		return scram.Auth{User: c.SASL.User, Pass: string(password())}, nil
	}
	switch c.SASL.Mechanism {
	case ScramSHA256:
		k.options = append(k.options, kgo.SASL(scram.Sha256(user)))
	case ScramSHA512:
		k.options = append(k.options, kgo.SASL(scram.Sha512(user)))
	default:
		k.options = append(k.options, kgo.SASL(plain.Plain(func(context.Context) (plain.Auth, error) {
			return plain.Auth{User: c.SASL.User, Pass: string(password())}, nil
		})))
	}
	return k, nil
}

const (
	dialTime  = 5 * time.Second
	retryTime = 5 * time.Second // for questions; records are tried again without end
	leastAge  = 500 * time.Millisecond
)

// backoff is how long a client waits before it tries for the nth time: short, because one that has waited for a broker has much to send.
func backoff(n int) time.Duration {
	d := min(100*time.Millisecond<<min(n, 10), time.Second)
	return d/2 + rand.N(d/2)
}

// Client returns a new client. It connects when it is used.
func (k *Cluster) Client(more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(k.options[:len(k.options):len(k.options)], more...)...)
}

// Trouble returns why the last connection could not be made, or nil.
func (k *Cluster) Trouble() error {
	if err := k.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

// hook notes how connections begin.
type hook struct{ cluster *Cluster }

var _ kgo.HookBrokerConnect = hook{}

func (h hook) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	switch {
	case err == nil:
		h.cluster.trouble.Store(nil)
	case !errors.Is(err, context.Canceled):
		h.cluster.trouble.Store(&err)
	}
}

// Misconfigured reports whether err says that the user or the configuration has to change, here or in Kafka.
func Misconfigured(err error) bool {
	for _, e := range []error{
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.ClusterAuthorizationFailed,
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed, kerr.InvalidTopicException,
		kerr.UnsupportedVersion, kerr.InvalidTransactionTimeout, kerr.InvalidGroupID,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// logger gives the warnings of clients to the node's log, each text at most every ten seconds. The texts are few.
type logger struct {
	log *slog.Logger

	mu   sync.Mutex
	told map[string]time.Time // guarded by mu
}

const (
	quiet    = 10 * time.Second
	mostTold = 100
)

func (*logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l *logger) Log(level kgo.LogLevel, text string, fields ...any) {
	if !l.mayTell(text) {
		return
	}
	as := slog.LevelWarn
	if level == kgo.LogLevelError {
		as = slog.LevelError
	}
	l.log.Log(context.Background(), as, "kafka: "+text, fields...)
}

func (l *logger) mayTell(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, ok := l.told[text]; ok && now.Sub(last) < quiet {
		return false
	}
	if len(l.told) >= mostTold {
		clear(l.told)
	}
	l.told[text] = now
	return true
}
