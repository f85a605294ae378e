package servers

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/longline/longline/internal/bench"
)

// The user whom a Mosquitto knows at WSS.
const (
	MosquittoUser     = "longline"
	MosquittoPassword = "secret"
)

// The ports of a Mosquitto, as distances from the first, which takes anybody without TLS.
const (
	mosquittoTLS = 1
	mosquittoWS  = 2
	mosquittoWSS = 3
)

// Mosquitto is an MQTT broker. It writes sessions and messages to its disk with every change, and has them when it is restarted.
type Mosquitto struct{ *Server }

// StartMosquitto starts a Mosquitto. Lines are further lines of its configuration, for all listeners.
func StartMosquitto(t testing.TB, lines ...string) Mosquitto {
	t.Helper()
	return Mosquitto{Start(t, MosquittoProgram(lines...))}
}

// TCP returns the URL for clients without TLS.
func (m Mosquitto) TCP() string { return "mqtt://" + m.Address() }

// TLS returns the URL for clients with TLS, which want a certificate: Certificate will do.
func (m Mosquitto) TLS() string { return "mqtts://" + m.at(mosquittoTLS) }

// WS returns the URL for clients that speak WebSocket without TLS.
func (m Mosquitto) WS() string { return "ws://" + m.at(mosquittoWS) + "/mqtt" }

// WSS returns the URL for clients that speak WebSocket with TLS, which want a user and a password.
func (m Mosquitto) WSS() string { return "wss://" + m.at(mosquittoWSS) + "/mqtt" }

// Certificate returns the names of the files with the broker's certificate, which is its own authority, and its key.
func (m Mosquitto) Certificate() (certificate, key string) {
	return filepath.Join(m.Dir, mosquittoCertificate), filepath.Join(m.Dir, mosquittoKey)
}

// The files of a Mosquitto, in its directory.
const (
	mosquittoCertificate = "certificate.pem"
	mosquittoKey         = "key.pem"
	mosquittoUsers       = "users"
)

// MosquittoProgram is the program of StartMosquitto.
func MosquittoProgram(lines ...string) Program {
	return Program{
		Name:    "mosquitto",
		Ports:   []int{0, mosquittoTLS, mosquittoWS, mosquittoWSS},
		Prepare: prepareMosquitto,
		Command: func(installed string, port int) []string {
			const write = `printf %s "$1" >mosquitto.conf && exec "$0" -c mosquitto.conf`
			return []string{"sh", "-c", write, installed + "/mosquitto", mosquittoConfig(port, lines)}
		},
		Ready: func(ctx context.Context, port int) error {
			var errs []error
			for _, distance := range []int{0, mosquittoTLS, mosquittoWS, mosquittoWSS} {
				c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+distance)))
				if err == nil {
					err = c.Close()
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

func mosquittoConfig(port int, lines []string) string {
	const secure = "certfile " + mosquittoCertificate + "\nkeyfile " + mosquittoKey + "\n"
	listener := func(distance int, settings string) string {
		return fmt.Sprintf("listener %d 127.0.0.1\n%s", port+distance, settings)
	}
	return "user root\nper_listener_settings true\nset_tcp_nodelay true\n" +
		"persistence true\nautosave_on_changes true\nautosave_interval 1\n" +
		strings.Join(append(lines, ""), "\n") +
		listener(0, "allow_anonymous true\n") +
		listener(mosquittoTLS, "allow_anonymous true\nrequire_certificate true\ncafile "+mosquittoCertificate+"\n"+secure) +
		listener(mosquittoWS, "protocol websockets\nallow_anonymous true\n") +
		listener(mosquittoWSS, "protocol websockets\nallow_anonymous false\npassword_file "+mosquittoUsers+"\n"+secure)
}

// prepareMosquitto makes a broker's files.
func prepareMosquitto(_, dir string) error {
	if _, err := bench.WriteCertificate(filepath.Join(dir, mosquittoCertificate), filepath.Join(dir, mosquittoKey)); err != nil {
		return err
	}
	password, err := mosquittoHash(MosquittoPassword)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, mosquittoUsers), []byte(MosquittoUser+":"+password+"\n"), 0o600)
}

// mosquittoHash returns what mosquitto_passwd writes for a password.
func mosquittoHash(password string) (string, error) {
	const rounds, size = 101, 64
	salt := []byte("0123456789ab")
	hash, err := pbkdf2.Key(sha512.New, password, salt, rounds, size)
	base := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("$7$%d$%s$%s", rounds, base(salt), base(hash)), err
}
