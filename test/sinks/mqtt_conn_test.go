//go:build servers || long

package sinks

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/wire/mqtt"
	"github.com/longline/longline/test/servers"
)

var noLog = slog.New(slog.NewTextHandler(io.Discard, nil))

func openBroker(t *testing.T, c bridge.Config) *bridge.Broker {
	t.Helper()
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	b, err := bridge.Open(c, new(reload.Watcher), noLog)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Both versions over each transport, with the credentials that it wants: what is published comes back, also what is retained.
func TestMQTTTransports(t *testing.T) {
	server := servers.StartMosquitto(t)
	certificate, key := server.Certificate()
	secure := setting.TLS{CA: certificate}
	secureBoth := setting.TLS{CA: certificate, Cert: certificate, Key: key}
	for _, version := range []string{"5", "3.1.1"} {
		for _, c := range []bridge.Config{
			{URL: server.TCP()},
			{URL: server.TLS(), TLS: secureBoth},
			{URL: server.WS()},
			{URL: server.WSS(), TLS: secure, Username: servers.MosquittoUser, Password: setting.NewSecret(servers.MosquittoPassword)},
		} {
			c.Version = version
			t.Run(version+" "+c.URL, func(t *testing.T) {
				b := openBroker(t, c)
				got := make(chan string, 10)
				id := fmt.Sprintf("t%d", time.Now().UnixNano())
				conn, err := b.Connect(t.Context(), bridge.Session{
					ClientID: id, Unanswered: 10,
					OnPublish: func(c *bridge.Conn, p *mqtt.Packet) {
						got <- fmt.Sprintf("%s %t %d", p.Payload, p.Retain, p.QoS)
						c.Acknowledge(p.ID)
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				publish := func(payload string, retain bool) {
					t.Helper()
					for _, err := range conn.Publish(t.Context(), 1, func(_ int, p *mqtt.Packet) {
						p.Topic, p.Payload, p.Retain = id+"/a", []byte(payload), retain
					}) {
						if err != nil {
							t.Fatal(err)
						}
					}
				}
				publish("kept", true)
				subscription := mqtt.Subscription{Filter: id + "/#", QoS: message.AtLeastOnce, RetainAsPublished: true}
				if err := conn.Subscribe(t.Context(), []mqtt.Subscription{subscription}); err != nil {
					t.Fatal(err)
				}
				if s := <-got; s != "kept true 1" {
					t.Errorf("retained: %s", s)
				}
				if version == "3.1.1" { // a bridge does not get what it published itself
					return
				}
				publish("news", true)
				if s := <-got; s != "news true 1" {
					t.Errorf("as published: %s", s)
				}
			})
		}
	}
}

// A broker that refuses says why, and whether that is for good.
func TestMQTTRefusals(t *testing.T) {
	server := servers.StartMosquitto(t)
	certificate, _ := server.Certificate()
	for _, version := range []string{"5", "3.1.1"} {
		b := openBroker(t, bridge.Config{
			URL: server.WSS(), Version: version, TLS: setting.TLS{CA: certificate}, Username: "somebody", Password: setting.NewSecret("else"),
		})
		_, err := b.Connect(t.Context(), bridge.Session{ClientID: "a"})
		if !bridge.ForGood(err) {
			t.Errorf("%s: wrong password: %v", version, err)
		}
		server.Kill()
		if _, err = b.Connect(t.Context(), bridge.Session{ClientID: "a"}); err == nil || bridge.ForGood(err) {
			t.Errorf("%s: the broker is away: %v", version, err)
		}
		server.Restart()
	}
}
