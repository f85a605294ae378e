package bridge

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Config says which broker it is, and how the gateway connects to it. Sinks and sources have it in common.
type Config struct {
	URL       string         `yaml:"url" help:"of the broker: mqtt:// or mqtts://HOST:PORT, ws:// or wss://HOST:PORT/PATH"`
	Version   string         `yaml:"version" help:"of MQTT: 5 or 3.1.1"`
	ClientID  string         `yaml:"client_id" help:"name of the gateway at the broker, where nobody else may have it; left out, it is made of the gateway's own identity, which store.path keeps, and the name of this section"`
	Username  string         `yaml:"username" help:"of the gateway at the broker"`
	Password  setting.Secret `yaml:"password" help:"the password"`
	TLS       setting.TLS    `yaml:"tls" help:"certificates, for mqtts:// and wss://"`
	KeepAlive time.Duration  `yaml:"keep_alive" help:"after so long without a packet the broker is asked whether it is there, and after one and a half times as long without one from it the connection is given up"`
	Timeout   time.Duration  `yaml:"timeout" help:"how long the broker may take to accept a connection, and to acknowledge the next of the publications that it has"`
	MaxPacket int            `yaml:"max_packet" unit:"bytes" help:"largest packet that is taken from the broker; larger publications are acknowledged, dropped and counted"`
	Broker    string         `yaml:"broker" help:"name of the broker, by which messages that were there are known, and not sent there again: the same in each gateway that bridges to it, and in no other; left out, HOST:PORT, which only this gateway knows"`
	Remember  time.Duration  `yaml:"remember" help:"with 3.1.1, how long a publication is remembered that went there, so that it is known when it comes back by another broker"`
}

// WithDefaults returns c with the defaults in place of zero fields.
func (c Config) WithDefaults() Config {
	c.Version = cmp.Or(c.Version, "5")
	c.KeepAlive = cmp.Or(c.KeepAlive, 30*time.Second)
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.MaxPacket = cmp.Or(c.MaxPacket, 1<<20)
	c.Remember = cmp.Or(c.Remember, 10*time.Second)
	return c
}

// Validate returns what is wrong with c, after WithDefaults. Each error begins with the key.
func (c Config) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	_, _, err := c.address()
	want(err == nil, "url: %w", err)
	want(versions[c.Version] != 0, "version: want 5 or 3.1.1, not %q", c.Version)
	want(c.Username != "" || !c.Password.Given() || c.Version == "5", "password: 3.1.1 has none without a username")
	want(c.KeepAlive >= time.Second && c.KeepAlive <= maxKeepAlive, "keep_alive: want 1s to %s, not %s", maxKeepAlive, c.KeepAlive)
	want(c.Timeout >= time.Millisecond, "timeout: want 1ms or more")
	want(c.MaxPacket >= minPacket && c.MaxPacket <= maxPacket, "max_packet: want %d to %d bytes, not %d", minPacket, maxPacket, c.MaxPacket)
	want(validHop(c.Broker) || c.Broker == "", "broker: want 1 to %d visible characters of ASCII without a comma, not %q", mostHopBytes, c.Broker)
	for _, e := range setting.Errors(c.TLS.Validate()) {
		errs = append(errs, fmt.Errorf("tls.%w", e))
	}
	return errors.Join(errs...)
}

const (
	maxKeepAlive = 65535 * time.Second // §3.1.2.10
	minPacket    = 1 << 10
	maxPacket    = 64 << 20
)

var versions = map[string]mqtt.Version{"5": mqtt.V5, "3.1.1": mqtt.V4}

// schemes are the ports of the schemes of URLs.
var schemes = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

// address returns the URL and its HOST:PORT.
func (c *Config) address() (u *url.URL, address string, err error) {
	u, err = url.Parse(c.URL)
	if err != nil {
		return nil, "", errors.New("want a URL such as mqtt://broker.example.com:1883")
	}
	port, ok := schemes[u.Scheme]
	socket := u.Scheme == "ws" || u.Scheme == "wss"
	switch {
	case !ok:
		return nil, "", fmt.Errorf("want mqtt://, mqtts://, ws:// or wss:// in front of the host, not %q", setting.WithoutUser(c.URL))
	case u.Hostname() == "":
		return nil, "", errors.New("has no host")
	case u.User != nil:
		return nil, "", errors.New("want no user and no password here: there are options for them")
	case !socket && (u.Path != "" && u.Path != "/" || u.RawQuery != ""):
		return nil, "", errors.New("want nothing behind the port, unless it is ws:// or wss://")
	}
	return u, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)), nil
}
