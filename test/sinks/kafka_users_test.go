//go:build servers && long

package sinks

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	client "github.com/longline/longline/internal/kafka"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/kafka"
	"github.com/longline/longline/internal/sink/pump"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/test/servers"
)

// TestKafkaUsers writes by TLS and as a user whom each mechanism proves, and is told what is wrong.
func TestKafkaUsers(t *testing.T) {
	k := servers.StartKafka(t)
	c, err := kgo.NewClient(kgo.SeedBrokers(k.Address()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := kadm.NewClient(c).CreateTopics(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	encrypted := client.TLS{Enabled: true, TLS: setting.TLS{CA: k.CA()}}
	user := func(mechanism, password string) client.SASL {
		return client.SASL{Mechanism: mechanism, User: servers.KafkaUser, Password: setting.NewSecret(password)}
	}
	for _, test := range []struct {
		name  string
		way   client.Config
		holds func(error) bool
	}{
		{"TLS", client.Config{Brokers: []string{k.TLS()}, TLS: encrypted}, succeeds},
		{"plain", client.Config{Brokers: []string{k.SASLTLS()}, TLS: encrypted, SASL: user(client.Plain, servers.KafkaPassword)}, succeeds},
		{"SHA-256", client.Config{Brokers: []string{k.SASL()}, SASL: user(client.ScramSHA256, servers.KafkaPassword)}, succeeds},
		{"SHA-512", client.Config{Brokers: []string{k.SASLTLS()}, TLS: encrypted, SASL: user(client.ScramSHA512, servers.KafkaPassword)}, succeeds},
		{"wrong password", client.Config{Brokers: []string{k.SASL()}, SASL: user(client.ScramSHA512, "wrong")}, func(err error) bool { return errors.Is(err, kerr.SaslAuthenticationFailed) }},
		{"unknown authority", client.Config{Brokers: []string{k.TLS()}, TLS: client.TLS{Enabled: true}}, fails},
		{"no user", client.Config{Brokers: []string{k.SASL()}}, fails},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := kafka.Config{Config: test.way, Topic: "t", Timeout: 20 * time.Second}.WithDefaults()
			if err := config.Validate(); err != nil {
				t.Fatal(err)
			}
			target, err := kafka.Open(config, pump.Options{Name: "main", Stream: "s", Watcher: new(reload.Watcher), Log: sinktest.Log})
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			m := &message.Message{Topic: "a", Source: "d", Payload: []byte(test.name)}
			r := &pump.Record{Place: 1, Time: time.Now(), Message: m, Key: "d", To: "t", Value: m.Payload}
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) { // a new Kafka first has to make a coordinator
				if _, err = target.Send(t.Context(), []*pump.Record{r}); test.holds(err) || !fails(err) || time.Now().After(deadline) {
					break
				}
			}
			if !test.holds(err) {
				t.Error(err)
			}
		})
	}
	values := make(map[string]bool)
	r, err := kgo.NewClient(kgo.SeedBrokers(k.Address()), kgo.ConsumeTopics("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, v := range readAll(t, r, "t") {
		values[string(v)] = true
	}
	if len(values) != 4 {
		t.Errorf("Kafka has %v", values)
	}
}

func succeeds(err error) bool { return err == nil }

// fails reports whether err is one that may pass.
func fails(err error) bool { return err != nil && !pump.IsMisconfigured(err) && !pump.IsRefused(err) }
