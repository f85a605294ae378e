//go:build servers

package servers

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// TestKafka writes by one way into a Kafka and reads what is there by another, after a kill.
func TestKafka(t *testing.T) {
	k := StartKafka(t)
	ca, err := os.ReadFile(k.CA())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	encrypted := kgo.DialTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	user := func(m sasl.Mechanism) kgo.Opt { return kgo.SASL(m) }
	ways := map[string][]kgo.Opt{
		"plain":    {kgo.SeedBrokers(k.Address())},
		"TLS":      {kgo.SeedBrokers(k.TLS()), encrypted},
		"PLAIN":    {kgo.SeedBrokers(k.SASL()), user(plain.Auth{User: KafkaUser, Pass: KafkaPassword}.AsMechanism())},
		"SCRAM256": {kgo.SeedBrokers(k.SASLTLS()), encrypted, user(scram.Auth{User: KafkaUser, Pass: KafkaPassword}.AsSha256Mechanism())},
		"SCRAM512": {kgo.SeedBrokers(k.SASLTLS()), encrypted, user(scram.Auth{User: KafkaUser, Pass: KafkaPassword}.AsSha512Mechanism())},
	}
	client := func(way string, more ...kgo.Opt) *kgo.Client {
		c, err := kgo.NewClient(append(more, ways[way]...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	missing := make(map[string]bool)
	for way := range ways {
		missing[way] = true
		c := client(way, kgo.DefaultProduceTopic("t"), kgo.AllowAutoTopicCreation())
		if err := c.ProduceSync(t.Context(), kgo.StringRecord(way)).FirstErr(); err != nil {
			t.Fatalf("%s: %v", way, err)
		}
	}
	k.Kill()
	k.Restart()
	for c := client("SCRAM512", kgo.ConsumeTopics("t")); len(missing) > 0; {
		fetched := c.PollFetches(t.Context())
		if err := fetched.Err0(); err != nil {
			t.Fatalf("%v; missing: %v", err, missing)
		}
		fetched.EachRecord(func(r *kgo.Record) { delete(missing, string(r.Value)) })
	}
}
