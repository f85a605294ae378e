package kafka

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	client "github.com/longline/longline/internal/kafka"
	"github.com/longline/longline/internal/setting"
	"github.com/longline/longline/internal/sink/pump"
)

func TestTopics(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name   string
		change func(*Config)
		holds  func(error) bool
	}{
		{"a topic that does not exist", func(c *Config) { c.Topic = "missing" }, pump.IsMisconfigured},
		{"one too many", func(c *Config) { c.Topic, c.MaxTopics = "t", 1 }, func(err error) bool { return err == nil }},
		{"a topic that is created", func(c *Config) { c.Topic, c.CreateTopics = "new", true }, func(err error) bool {
			return err != nil && !pump.IsRefused(err) && !pump.IsMisconfigured(err) // it is not known at once
		}},
		{"and is there", func(c *Config) { c.Topic = "new" }, func(err error) bool { return err == nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			target := w.open(test.change)
			defer target.Close()
			if _, err := target.Send(t.Context(), w.records(target, 1, 2, 1)); !test.holds(err) {
				t.Error(err)
			}
		})
	}
}

// A message can name a topic that is not there, and that is its own fault.
func TestTopicOfMessage(t *testing.T) {
	w := newWorld(t, kfake.SeedTopics(1, "one", "two", "three"))
	target := w.open(func(c *Config) { c.MaxTopics = 2 })
	defer target.Close()
	records := w.records(target, 1, 6, 6)
	for i, to := range []string{"one", "missing", "two", "three", "missing", "one"} {
		records[i].To = to
	}
	target.(*Target).topic = template(t, "{topic[1]}")
	var refused []uint64
	for len(records) > 0 {
		done, err := target.Send(t.Context(), records)
		records = records[done:]
		if err != nil {
			if !pump.IsRefused(err) {
				t.Fatal(err)
			}
			refused, records = append(refused, records[0].Place), records[1:]
		}
	}
	if !slices.Equal(refused, []uint64{2, 4, 5}) {
		t.Errorf("refused are %v", refused)
	}
}

// The sink knows what a topic takes, and finds out if it may not ask.
func TestTooLarge(t *testing.T) {
	for _, mayAsk := range []bool{true, false} {
		t.Run(fmt.Sprint(mayAsk), func(t *testing.T) {
			w := newWorld(t)
			limit := "4000"
			if _, err := kadm.NewClient(w.client()).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &limit}}, "t"); err != nil {
				t.Fatal(err)
			}
			if !mayAsk {
				w.control(kmsg.DescribeConfigs, func(r kmsg.Request) kmsg.Response {
					answer := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
					for _, asked := range r.(*kmsg.DescribeConfigsRequest).Resources {
						each := kmsg.NewDescribeConfigsResponseResource()
						each.ResourceType, each.ResourceName, each.ErrorCode = asked.ResourceType, asked.ResourceName, kerr.TopicAuthorizationFailed.Code
						answer.Resources = append(answer.Resources, each)
					}
					return answer
				})
				w.control(kmsg.Produce, refuseBatches(t, func(batch []byte) bool { return len(batch) > 4000 }, kerr.MessageTooLarge))
			}
			target := w.open(nil)
			defer target.Close()
			records := w.records(target, 1, 40, 4)
			for _, r := range records {
				r.Value = append(bytes.Clone(r.Value), strings.Repeat(" ", 500)...) // together they are more than one batch
			}
			records[20].Value = bytes.Repeat([]byte("x"), 5000)
			checkOneRefused(t, w, target, records)
		})
	}
}

// A broker refuses a batch for one of its records. That one is found, and no other is written twice or out of order.
func TestInvalidRecord(t *testing.T) {
	w := newWorld(t)
	w.control(kmsg.Produce, refuseBatches(t, func(batch []byte) bool { return bytes.Contains(batch, []byte("invalid")) }, kerr.InvalidRecord))
	target := w.open(nil)
	defer target.Close()
	records := w.records(target, 1, 40, 4)
	records[20].Value = []byte("invalid")
	checkOneRefused(t, w, target, records)
}

// checkOneRefused sends records, of which the one with place 21 is to be refused.
func checkOneRefused(t *testing.T, w *world, target pump.Target, records []*pump.Record) {
	t.Helper()
	done, err := target.Send(t.Context(), records)
	if done != 20 || !pump.IsRefused(err) {
		t.Fatalf("%d are confirmed, then %v", done, err)
	}
	w.send(target, records[21:])
	next := map[string]int{"d1": 1, "d2": 2, "d3": 3, "d0": 4}
	for _, r := range w.read("t") {
		device, n := string(r.Key), next[string(r.Key)]
		if n == 21 {
			n += 4
		}
		if got := strings.TrimSpace(string(r.Value)); got != fmt.Sprint(n) {
			t.Errorf("%s: %s, want %d", device, got, n)
		}
		next[device] = n + 4
	}
	for device, n := range next {
		if n <= 40 {
			t.Errorf("%s has no record %d", device, n)
		}
	}
}

// refuseBatches answers a produce request that has a batch like that: this batch is refused, and so are the others.
func refuseBatches(t *testing.T, bad func(batch []byte) bool, why *kerr.Error) func(kmsg.Request) kmsg.Response {
	return func(r kmsg.Request) kmsg.Response {
		found := false
		answer := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range r.(*kmsg.ProduceRequest).Topics {
			each := kmsg.NewProduceResponseTopic()
			each.Topic, each.TopicID = topic.Topic, topic.TopicID
			for _, p := range topic.Partitions {
				found = found || bad(p.Records)
				part := kmsg.NewProduceResponseTopicPartition()
				part.Partition, part.ErrorCode = p.Partition, why.Code
				each.Partitions = append(each.Partitions, part)
			}
			answer.Topics = append(answer.Topics, each)
		}
		if !found {
			return nil
		}
		return answer
	}
}

// A right that is missing for a moment does not stop the sink. One that is missing for a minute does, also if Kafka tells the place meanwhile.
func TestNotAuthorized(t *testing.T) {
	for _, exact := range []bool{false, true} {
		t.Run(fmt.Sprint(exact), func(t *testing.T) {
			w := newWorld(t)
			var granted atomic.Bool
			w.control(kmsg.Produce, func(r kmsg.Request) kmsg.Response {
				if granted.Load() {
					return nil
				}
				return refuseBatches(t, func([]byte) bool { return true }, kerr.TopicAuthorizationFailed)(r)
			})
			target := w.open(func(c *Config) { c.Transactional = exact })
			defer target.Close()
			patience := new(pump.Patience)
			switch of := target.(type) {
			case *Target:
				patience = &of.patience
			case *transactional:
				patience = &of.patience
			}
			send := func(want func(error) bool) {
				t.Helper()
				if place, is := target.(pump.Transactional); is {
					if _, _, err := place.Place(t.Context()); err != nil {
						t.Error(err)
					}
				}
				if _, err := target.Send(t.Context(), w.records(target, 1, 2, 1)); !want(err) {
					t.Error(err)
				}
			}
			later := func(err error) bool { return err != nil && !pump.IsMisconfigured(err) && !pump.IsRefused(err) }
			longAgo := func() { _ = patience.Misconfigured(kerr.TopicAuthorizationFailed, time.Now().Add(-2*time.Minute)) }
			send(later)
			patience.Renew()
			longAgo()
			send(pump.IsMisconfigured)
			send(later) // somebody has resumed it
			granted.Store(true)
			send(func(err error) bool { return err == nil })
			longAgo() // would be the first again
			send(func(err error) bool { return err == nil })
		})
	}
}

// One device names a topic that is not for this user, or one that cannot be created. That is the fault of its message alone: the sink goes on.
func TestNotAuthorizedForTopicOfMessage(t *testing.T) {
	allow := func(kind kmsg.ACLResourceType, name string, pattern kmsg.ACLResourcePatternType, operation kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kind, Name: name, Pattern: pattern, Operation: operation, Allow: true}
	}
	exactly, prefix := kmsg.ACLResourcePatternTypeLiteral, kmsg.ACLResourcePatternTypePrefixed
	rights := []kfake.ACL{
		allow(kmsg.ACLResourceTypeTopic, "one", exactly, kmsg.ACLOperationWrite),
		allow(kmsg.ACLResourceTypeTopic, "one", exactly, kmsg.ACLOperationRead),
		allow(kmsg.ACLResourceTypeGroup, "longline", prefix, kmsg.ACLOperationRead),
		allow(kmsg.ACLResourceTypeTransactionalId, "longline", prefix, kmsg.ACLOperationWrite),
		allow(kmsg.ACLResourceTypeCluster, "kafka-cluster", exactly, kmsg.ACLOperationIdempotentWrite),
	}
	const user, password = "gateway", "word"
	for _, test := range []struct {
		name                  string
		transactional, create bool
		secret                kmsg.ACLOperation // what the user may do with the topic
	}{
		{name: "may not write", secret: kmsg.ACLOperationDescribe},
		{name: "may not write, in a transaction", transactional: true, secret: kmsg.ACLOperationDescribe},
		{name: "may not see"},
		{name: "may not create", create: true, secret: kmsg.ACLOperationDescribe},
	} {
		t.Run(test.name, func(t *testing.T) {
			topics := []string{"one"}
			if !test.create {
				topics = append(topics, "secret")
			}
			w := newWorld(t, kfake.SeedTopics(1, topics...), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "admin"),
				kfake.User("PLAIN", user, password, append(slices.Clip(rights), allow(kmsg.ACLResourceTypeTopic, "secret", exactly, test.secret))...))
			target := w.open(func(c *Config) {
				c.SASL = client.SASL{Mechanism: client.Plain, User: user, Password: setting.NewSecret(password)}
				c.Topic, c.CreateTopics, c.Transactional, c.PlaceTopic = "{topic[1]}", test.create, test.transactional, "one"
			})
			defer target.Close()
			records := w.records(target, 1, 6, 6)
			for i, to := range []string{"one", "secret", "one", "secret", "secret", "one"} {
				records[i].To = to
			}
			refused := 0
			for len(records) > 0 {
				done, err := target.Send(t.Context(), records)
				if records = records[done:]; err != nil {
					if !pump.IsRefused(err) {
						t.Fatal(err)
					}
					at := slices.IndexFunc(records, func(r *pump.Record) bool { return r.To == "secret" })
					if !strings.Contains(err.Error(), "topic secret:") || at < 0 {
						t.Fatal(err)
					}
					records = slices.Delete(records, at, at+1)
					refused++
				}
			}
			if refused != 3 {
				t.Errorf("%d are refused", refused)
			}
		})
	}
}

// The brokers say nothing for longer than the timeout. What they were given is written once, and the next call of Send learns it.
func TestNoAnswer(t *testing.T) {
	w := newWorld(t)
	answered := make(chan struct{})
	w.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		w.SleepControl(func() { <-answered })
		return nil, nil, false
	})
	target := w.open(func(c *Config) { c.Timeout = time.Second })
	defer target.Close()
	records := w.records(target, 1, 10, 2)
	for range 2 {
		if done, err := target.Send(t.Context(), records); done != 0 || err == nil || pump.IsRefused(err) || pump.IsMisconfigured(err) {
			t.Fatalf("%d are confirmed: %v", done, err)
		}
	}
	close(answered)
	w.send(target, append(records, w.records(target, 11, 12, 2)...))
	if all := w.read("t"); len(all) != 12 {
		t.Errorf("%d records", len(all))
	}
}

// Nobody is there: Send says so in its time, and Close ends what is under way.
func TestAway(t *testing.T) {
	w := newWorld(t)
	target := w.open(func(c *Config) { c.Timeout = time.Second })
	w.Close()
	if done, err := target.Send(t.Context(), w.records(target, 1, 10, 2)); done != 0 || err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%d are confirmed: %v", done, err)
	}
	target.Close()
}

var _ = kgo.Record{}
