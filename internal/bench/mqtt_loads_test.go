package bench

import (
	"testing"
	"time"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
)

// broker starts a gateway, which is an MQTT broker.
func broker(t *testing.T) Target {
	t.Helper()
	memory := store.NewMemory(store.Options{})
	r := router.New(router.Config{}, memory)
	sessions, err := session.NewManager(session.Config{}, r, memory, memory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sessions.Close)
	g, err := gateway.Start(gateway.Config{Listen: "127.0.0.1:0", Insecure: true}, r, sessions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return Target{Addr: g.Addr(), Devices: "bench-"}
}

// Every load runs against a gateway, which loses no message.
func TestMQTTLoads(t *testing.T) {
	const clients = 20
	short := Load{Duration: 50 * time.Millisecond, Lossy: true}
	paced := Load{Duration: 50 * time.Millisecond, Rate: 2000}
	for name, c := range map[string]struct {
		mqtt MQTT
		run  func(*Client) (Result, error)
	}{
		"pings":        {MQTT{}, func(c *Client) (Result, error) { return c.MQTTPings(t.Context(), paced) }},
		"fan-out":      {MQTT{Filter: FilterAll}, func(c *Client) (Result, error) { return c.MQTTFanout(t.Context(), 3) }},
		"paced":        {MQTT{Filter: FilterTelemetry}, func(c *Client) (Result, error) { return c.MQTTUplink(t.Context(), paced) }},
		"in flight":    {MQTT{Filter: FilterTelemetry}, func(c *Client) (Result, error) { return c.MQTTUplink(t.Context(), short) }},
		"QoS 1":        {MQTT{Filter: FilterTelemetry, QoS: message.AtLeastOnce}, func(c *Client) (Result, error) { return c.MQTTAcknowledged(t.Context(), short) }},
		"QoS 1, paced": {MQTT{Stays: true}, func(c *Client) (Result, error) { return c.MQTTAcknowledged(t.Context(), paced) }},
		"lag":          {MQTT{Filter: FilterTelemetry, QoS: message.AtLeastOnce}, func(c *Client) (Result, error) { return c.MQTTLag(t.Context(), short) }},
		"command":      {MQTT{Filter: FilterCommands}, func(c *Client) (Result, error) { return c.MQTTCommand(t.Context(), short, message.AtMostOnce) }},
		"command, 1":   {MQTT{Filter: FilterCommands, QoS: message.AtLeastOnce}, func(c *Client) (Result, error) { return c.MQTTCommand(t.Context(), short, message.AtLeastOnce) }},
	} {
		t.Run(name, func(t *testing.T) {
			target := broker(t)
			target.MQTT = &c.mqtt
			client, err := Connect(t.Context(), target, clients)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if r, err := c.run(client); err != nil || r.Messages == 0 || r.Lost != 0 {
				t.Errorf("%d messages, %d lost, %v", r.Messages, r.Lost, err)
			}
		})
	}
}

func TestMQTTLoadsWantTwoClients(t *testing.T) {
	target := broker(t)
	target.MQTT = &MQTT{Filter: FilterTelemetry}
	c, err := Connect(t.Context(), target, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	load := Load{Duration: time.Millisecond}
	if _, err := c.MQTTUplink(t.Context(), load); err == nil {
		t.Error("uplink of nobody")
	}
	if _, err := c.MQTTLag(t.Context(), load); err == nil {
		t.Error("lag of nobody")
	}
	if _, err := c.MQTTFanout(t.Context(), 0); err == nil {
		t.Error("no rounds")
	}
}

// The client fails if the broker grants a lower QoS than it asks for.
func TestMQTTSubscriptionMustBeGranted(t *testing.T) {
	target := broker(t)
	target.MQTT = &MQTT{Filter: func(int) string { return "a/#/b" }}
	if c, err := Connect(t.Context(), target, 1); err == nil {
		c.Close()
		t.Error("open with a filter that is none")
	}
}
