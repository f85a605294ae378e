package servers

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/longline/longline/internal/bench"
)

// The user whom a Kafka knows, by SASL PLAIN and SCRAM.
const (
	KafkaUser     = "longline"
	KafkaPassword = "secret"
)

// The ports of a Kafka, as distances from the first, which takes clients without TLS and SASL.
const (
	kafkaController = 1
	kafkaSASL       = 2
	kafkaTLS        = 3
	kafkaSASLTLS    = 4
)

// Kafka is a broker that is its own controller. Address is where it takes clients without TLS and SASL. What it has written stays
// when it is restarted.
type Kafka struct{ *Server }

// StartKafka starts a Kafka. Options are further properties of the broker, such as message.max.bytes=1000.
func StartKafka(t testing.TB, options ...string) Kafka {
	t.Helper()
	return Kafka{Start(t, KafkaProgram(options...))}
}

// SASL returns the address for clients with a user and without TLS.
func (k Kafka) SASL() string { return k.at(kafkaSASL) }

// TLS returns the address for clients with TLS and without a user.
func (k Kafka) TLS() string { return k.at(kafkaTLS) }

// SASLTLS returns the address for clients with TLS and a user.
func (k Kafka) SASLTLS() string { return k.at(kafkaSASLTLS) }

// CA returns the name of the file with the authority of the broker's certificate.
func (k Kafka) CA() string { return filepath.Join(k.Dir, kafkaCertificate) }

const kafkaBehind = "behind="

// KafkaBehind is an option: clients without TLS and SASL are told that the broker is at proxy.
func KafkaBehind(proxy string) string { return kafkaBehind + proxy }

const (
	kafkaCertificate = "certificate.pem"
	kafkaKey         = "key.pem"
	kafkaStore       = "store.pem" // both
)

// KafkaProgram is the program of StartKafka.
func KafkaProgram(options ...string) Program {
	return Program{
		Name:    "kafka",
		Ports:   []int{0, kafkaController, kafkaSASL, kafkaTLS, kafkaSASLTLS},
		Prepare: prepareKafka,
		Command: func(installed string, port int) []string {
			line := []string{
				"java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
				"-cp", installed + "/libs/*", "kafka.Kafka", "server.properties",
			}
			at := func(distance int) string { return fmt.Sprintf("://127.0.0.1:%d", port+distance) }
			others := ",SASL_PLAINTEXT" + at(kafkaSASL) + ",SSL" + at(kafkaTLS) + ",SASL_SSL" + at(kafkaSASLTLS)
			advertised := "PLAINTEXT" + at(0)
			options = slices.DeleteFunc(slices.Clone(options), func(o string) bool {
				proxy, is := strings.CutPrefix(o, kafkaBehind)
				if is {
					advertised = "PLAINTEXT://" + proxy
				}
				return is
			})
			for _, o := range append([]string{
				"listeners=PLAINTEXT" + at(0) + others + ",CONTROLLER" + at(kafkaController),
				"advertised.listeners=" + advertised + others,
				fmt.Sprintf("controller.quorum.voters=1@127.0.0.1:%d", port+kafkaController),
			}, options...) {
				line = append(line, "--override", o)
			}
			return line
		},
		Ready: func(ctx context.Context, port int) error {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			client, err := kgo.NewClient(kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", port)))
			if err != nil {
				return err
			}
			defer client.Close()
			return client.Ping(ctx)
		},
	}
}

// prepareKafka makes a broker's files.
func prepareKafka(installed, dir string) error {
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(filepath.Join(installed, "data"))); err != nil {
		return err
	}
	certificate, key := filepath.Join(dir, kafkaCertificate), filepath.Join(dir, kafkaKey)
	if _, err := bench.WriteCertificate(certificate, key); err != nil {
		return err
	}
	var store []byte
	for _, name := range []string{key, certificate} {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		store = append(store, text...)
	}
	if err := os.WriteFile(filepath.Join(dir, kafkaStore), store, 0o600); err != nil {
		return err
	}
	plain := fmt.Sprintf(`org.apache.kafka.common.security.plain.PlainLoginModule required user_%s="%s";`, KafkaUser, KafkaPassword)
	scram := "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	lines := []string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.listener.names=CONTROLLER",
		"inter.broker.listener.name=PLAINTEXT",
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
		"log.dirs=data",
		"num.partitions=4",
		"offsets.topic.replication.factor=1",
		"offsets.topic.num.partitions=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"transaction.state.log.num.partitions=1",
		"group.initial.rebalance.delay.ms=0",
		"broker.session.timeout.ms=2000", // a broker that was killed comes back only after that
		"broker.heartbeat.interval.ms=400",
		"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"ssl.keystore.type=PEM",
		"ssl.keystore.location=" + kafkaStore,
	}
	for _, listener := range []string{"sasl_plaintext", "sasl_ssl"} {
		lines = append(lines,
			"listener.name."+listener+".plain.sasl.jaas.config="+plain,
			"listener.name."+listener+".scram-sha-256.sasl.jaas.config="+scram,
			"listener.name."+listener+".scram-sha-512.sasl.jaas.config="+scram)
	}
	return os.WriteFile(filepath.Join(dir, "server.properties"), []byte(strings.Join(lines, "\n")), 0o600)
}
