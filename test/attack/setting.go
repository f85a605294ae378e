package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/longline/longline/internal/bench"
)

// setting has the options in which the attacked gateways differ. Each has what a gateway on the open internet needs besides the
// defaults, and smaller limits where the defaults are for more devices and longer times than an attack has.
type setting struct {
	memory      int           // MiB, limits.memory.limit
	marks       string        // other options of limits.memory
	connect     string        // limits.connect
	device      string        // limits.device
	queue       string        // store.queue
	wills       string        // sessions.wills_per_credential
	heartbeat   time.Duration // 0 means the default
	audit       string        // api.audit
	descriptors int           // 0 means as many as this program may have
}

const (
	rates  = "{messages: 50, message_burst: 20, bytes: 64KiB}"
	queues = "{count: 50, bytes: 256KiB}"
	pace   = "{per_second: 500, burst: 250, line: 700}"

	scarceMiB = 256
)

var (
	usual = &setting{memory: 1024, connect: pace, device: rates, queue: queues}
	// scarce has little memory, and devices may send as fast as they can.
	scarce = &setting{memory: scarceMiB, connect: pace}
	// short is short of memory when it keeps as many messages as it may.
	short = &setting{memory: scarceMiB, connect: pace, marks: ", slow_readers: 40, refuse_new: 41, shed_qos0: 42, close_slow: 43"}
	// paced accepts the honest devices at once, and then few connections per second.
	paced = &setting{memory: 1024, connect: "{per_second: 100, burst: 1100, line: 100}", device: rates, queue: queues}
	// trusting allows one credential thousands of wills.
	trusting = &setting{memory: 1024, connect: pace, device: rates, queue: queues, wills: "64MiB"}
	// impatient closes devices after some seconds of silence.
	impatient = &setting{memory: 1024, connect: pace, device: rates, queue: queues, heartbeat: time.Second}
)

const configuration = `
gateway:
  listen: 127.0.0.1:0
  compression: true
  handshake_timeout: %[1]v
  stall_timeout: %[1]v
  message_timeout: %[1]v
  unverified_bytes: 1MiB
  tls: {cert: cert.pem, key: key.pem, timeout: %[1]v}
  mqtt: {listen: 127.0.0.1:0}
  %[2]s
auth:
  order: [tokens, basic, jwt]
  tokens: {file: tokens}
  basic: {file: users}
  jwt: {secret_file: secret}
sessions: {expiry: 5s, ack_timeout: %[1]v, wills_per_credential: %[9]s, max_subscriptions: 100, max_filters: 64}
store:
  queue: %[3]s
  retained: {count: 1000, bytes: 16MiB, per_device: 1}
limits:
  connections: {per_address: 1500}
  connect: %[4]s
  device: %[5]s
  memory: {limit: %[6]dMiB%[7]s}
api: {address: "127.0.0.1:0", tokens: backends, max_connections: 200, audit: %[8]q}
log: {level: info, format: json}
`

// command returns the command line of a gateway that runs in the folder of its files.
func (s *setting) command(longline string) []string {
	serve := []string{longline, "serve", "--config", "longline.yaml"}
	if s.descriptors > 0 {
		return append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, s.descriptors)}, serve...)
	}
	return serve
}

// text returns the configuration file.
func (s *setting) text(o *options) string {
	patience := max(o.Duration/3, 700*time.Millisecond) // shorter than an attack
	heartbeat := ""
	if s.heartbeat > 0 {
		heartbeat = fmt.Sprintf("heartbeat: %v\n  heartbeat_timeout: %v", s.heartbeat, 2*s.heartbeat)
	}
	return fmt.Sprintf(configuration, patience, heartbeat, cmp.Or(s.queue, "{}"), s.connect, cmp.Or(s.device, "{}"), s.memory, s.marks, s.audit, cmp.Or(s.wills, "1MiB"))
}

// Credentials of honest devices and of attackers.
const (
	honestToken    = "kept-by-honest-devices"
	stolenToken    = "stolen-from-a-device"
	withdrawn      = "good-until-it-is-taken-away"
	honestPassword = "kept-by-an-honest-user"
	readToken      = "of-who-reads-the-metrics"
	backendToken   = "of-a-backend"
)

// secret is the secret of JSON Web Tokens.
const secret = "a secret of 32 bytes or more, RFC 7518"

// write writes the files of a gateway.
func (s *setting) write(folder string, o *options) error {
	name := func(n string) string { return filepath.Join(folder, n) }
	if _, err := bench.WriteCertificate(name("cert.pem"), name("key.pem")); err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(honestPassword), bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	for file, text := range map[string]string{
		"tokens":        goodTokens + grant("gone-*", withdrawn, "gone"),
		"users":         fmt.Sprintf("bench-user:%[1]s\nbad-user:%[1]s\n", hash),
		"secret":        secret,
		"backends":      grant("read", readToken, "metrics") + grant("admin", backendToken, "backend"),
		"longline.yaml": s.text(o),
	} {
		if err := os.WriteFile(name(file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// goodTokens is the tokens file without the withdrawn token.
var goodTokens = grant("bench-*", honestToken, "honest") + grant("bad-*", stolenToken, "stolen")

// grant returns a line of a tokens file.
func grant(subject, token, name string) string {
	return fmt.Sprintf("%s sha256:%x %s\n", subject, sha256.Sum256([]byte(token)), name)
}

// bearer adds a token to requests to the admin port.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}
