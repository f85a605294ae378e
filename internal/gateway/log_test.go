package gateway

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/wire/mqtt"
)

// lines collects what is logged. Safe from any goroutine.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// containing returns the lines that have a part.
func (l *lines) containing(part string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, part) {
			found = append(found, line)
		}
	}
	return found
}

// A refused will is logged with its device, and one of many for a while.
func TestRefusedWillIsLogged(t *testing.T) {
	var log lines
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	w := &mqttWorld{newGuarded(t, jwtOnly(t), settings{gateway: Config{Loops: 1, MaxConnections: 100, MQTT: MQTT{Listen: "127.0.0.1:0"}}}), fives[0]}
	for range 3 {
		connect := opening("meter-1")
		connect.Connect.HasUsername, connect.Connect.Username = true, "token"
		connect.Connect.HasPassword, connect.Connect.Password = true, []byte(sign(t, jwt.MapClaims{"sub": "meter-1"}))
		connect.Connect.HasWill, connect.Connect.Will = true, mqtt.Will{Topic: "elsewhere", Payload: []byte("gone")}
		p := w.dial()
		p.say(connect)
		if got := p.take(mqtt.Connack); got.Reason != mqtt.NotAuthorized {
			t.Fatal(show(got))
		}
	}
	if found := log.containing("connection refused"); len(found) != 1 || !strings.Contains(found[0], "device=meter-1 address=127.0.0.1:") || !strings.Contains(found[0], "may not publish its will") {
		t.Errorf("logged %q", found)
	}
}
