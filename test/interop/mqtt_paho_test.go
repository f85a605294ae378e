package interop

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	pahosession "github.com/eclipse/paho.golang/paho/session"
)

// pahoClient is paho.golang with autopaho, which reconnects: MQTT 5 over TCP.
type pahoClient struct{}

func (pahoClient) subscribe(ctx context.Context, t *testing.T, s subscription) *subscriber {
	t.Helper()
	messages := make(chan message, buffered)
	c := dialPaho(ctx, t, &s.session, func(p paho.PublishReceived) (bool, error) {
		select {
		case messages <- pahoMessage(p.Packet):
		case <-ctx.Done():
		}
		return true, nil
	})
	_, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: s.filter, QoS: byte(s.qos)}}})
	if err != nil {
		t.Fatalf("subscribe: %v", err)
	}
	return &subscriber{messages: messages, leave: func() { leavePaho(ctx, t, c) }}
}

func (pahoClient) resumes(int) bool { return true }

func (pahoClient) publish(ctx context.Context, t *testing.T, p publication) {
	t.Helper()
	c := dialPaho(ctx, t, &p.session, nil)
	for _, payload := range p.payloads {
		if err := publishPaho(ctx, c, p.message.paho(payload)); err != nil {
			t.Fatalf("publish %q: %v", payload, err)
		}
	}
	leavePaho(ctx, t, c)
}

// publishPaho waits for a connection and publishes. When paho's session has the
// message, paho sends it again after a cut.
func publishPaho(ctx context.Context, c *autopaho.ConnectionManager, p *paho.Publish) error {
	for {
		if err := c.AwaitConnection(ctx); err != nil {
			return err
		}
		_, err := c.Publish(ctx, p)
		if !errors.Is(err, autopaho.ConnectionDownError) && !errors.Is(err, pahosession.ErrNoConnection) {
			return err
		}
	}
}

// dialPaho returns a connected client.
func dialPaho(ctx context.Context, t *testing.T, s *session, received func(paho.PublishReceived) (bool, error)) *autopaho.ConnectionManager {
	t.Helper()
	config := autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{{Scheme: "mqtt", Host: s.addr}},
		KeepAlive:                     60,
		CleanStartOnInitialConnection: !s.keep,
		ReconnectBackoff:              autopaho.NewConstantBackoff(10 * time.Millisecond),
		ClientConfig:                  paho.ClientConfig{ClientID: s.id, PacketTimeout: time.Minute},
	}
	if s.keep {
		config.SessionExpiryInterval = lifetime
	}
	if w := s.will; w != nil {
		config.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: []byte(w.Payload), QoS: byte(w.QoS)}
	}
	if received != nil {
		config.OnPublishReceived = append(config.OnPublishReceived, received)
	}
	ctx, cancel := context.WithCancel(ctx)
	c, err := autopaho.NewConnection(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-c.Done() })
	if err := c.AwaitConnection(ctx); err != nil {
		t.Fatalf("connect: %v", err)
	}
	return c
}

func leavePaho(ctx context.Context, t *testing.T, c *autopaho.ConnectionManager) {
	t.Helper()
	if err := c.Disconnect(ctx); err != nil {
		t.Errorf("disconnect: %v", err)
	}
}

func (m *message) paho(payload string) *paho.Publish {
	p := &paho.PublishProperties{
		ResponseTopic: m.Properties.ResponseTopic,
		ContentType:   m.Properties.ContentType,
	}
	if m.Properties.CorrelationData != "" {
		p.CorrelationData = []byte(m.Properties.CorrelationData)
	}
	for name, value := range m.Properties.User {
		p.User.Add(name, value)
	}
	return &paho.Publish{Topic: m.Topic, Payload: []byte(payload), QoS: byte(m.QoS), Retain: m.Retain == 1, Properties: p}
}

func pahoMessage(p *paho.Publish) message {
	m := message{
		Topic:   p.Topic,
		Payload: string(p.Payload),
		QoS:     int(p.QoS),
		Properties: properties{
			ResponseTopic:   p.Properties.ResponseTopic,
			CorrelationData: string(p.Properties.CorrelationData),
			ContentType:     p.Properties.ContentType,
		},
	}
	if p.Retain {
		m.Retain = 1
	}
	for _, u := range p.Properties.User {
		if m.Properties.User == nil {
			m.Properties.User = make(map[string]string)
		}
		m.Properties.User[u.Key] = u.Value
	}
	return m
}
