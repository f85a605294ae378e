package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/wire/mqtt"
)

// CONNECT shows the credentials, which are verified away from the loop; what comes behind it
// waits.
func TestMQTTCredentials(t *testing.T) {
	for _, y := range ways[1:] {
		t.Run(y.String(), func(t *testing.T) {
			config := jwtOnly(t)
			w := &mqttWorld{newGuarded(t, config, settings{gateway: Config{MQTT: MQTT{Listen: "127.0.0.1:0"}}}), y}
			token := sign(t, jwt.MapClaims{"sub": "a"})
			for _, c := range []struct {
				device, user, password string
				want                   mqtt.Code
			}{
				{"a", "token", token, mqtt.Success},
				{"b", "token", token, mqtt.NotAuthorized},
				{"a", "token", token + "x", mqtt.NotAuthorized},
				{"a", "a", "password", mqtt.BadUsernameOrPassword},
			} {
				connect := opening(c.device)
				connect.Connect.HasUsername, connect.Connect.Username = true, c.user
				connect.Connect.HasPassword, connect.Connect.Password = true, []byte(c.password)
				p := w.dial()
				p.say(connect, saying("elsewhere=x", 1, 1), saying("device/a/x=x", 1, 2))
				if got := p.take(mqtt.Connack).Reason; got != c.want {
					t.Errorf("%+v: %v", c, got)
				}
				if c.want != mqtt.Success {
					p.ended()
					continue
				}
				if got := p.take(mqtt.Puback); got.ID != 1 || y.version == mqtt.V5 && got.Reason != mqtt.NotAuthorized {
					t.Errorf("what is not allowed: %d %s", got.ID, show(got))
				}
				if got := p.take(mqtt.Puback); got.ID != 2 || got.Reason != mqtt.Success {
					t.Errorf("what is allowed: %d %s", got.ID, show(got))
				}
				if codes := p.subscribe(mqtt.Subscription{Filter: "elsewhere/#"}); codes[0] != mqtt.NotAuthorized && codes[0] != mqtt.UnspecifiedError {
					t.Errorf("subscribed: %v", codes)
				}
			}
		})
	}
}

// MQTT over TLS has a port of its own.
func TestMQTTOverTLS(t *testing.T) {
	dir := t.TempDir()
	config := TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	pool := x509.NewCertPool()
	pool.AddCert(writeCertificate(t, config.Cert, config.Key, 1))
	w := newWorld(t, settings{gateway: Config{TLS: config, MQTT: MQTT{TLSListen: "127.0.0.1:0"}}})
	c, err := tls.Dial("tcp", w.gateway.MQTTSecureAddr().String(), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	p := (&mqttWorld{w, way{mqtt.V5, "tls"}}).over(c)
	p.say(opening("a"))
	p.take(mqtt.Connack)
	p.quiet()
	if peer := w.peer("a"); peer.Protocol != "mqtt 5" || peer.Addr.String() != c.LocalAddr().String() {
		t.Errorf("the peer is %v", peer)
	}
	if w.gateway.MQTTAddr().IsValid() {
		t.Error("MQTT without TLS has an address")
	}
}
