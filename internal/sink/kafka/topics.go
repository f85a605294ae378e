package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	client "github.com/longline/longline/internal/kafka"
	"github.com/longline/longline/internal/sink/pump"
)

// topics is what is known of the topics that a client writes to. It ends with the client. The goroutine that writes owns it, but for sizes.
type topics struct {
	target  *Target
	known   map[string]*topic // at most config.MaxTopics
	barred  map[string]bar    // topics that messages have named in vain; at most mostBarred
	numbers map[string]int64  // of partitions, as the group had them; nil before they are asked for
	kept    time.Time         // when the group got numbers
	hasher  kgo.TopicPartitioner
	sizes   sync.Map // from known topics to the bytes of a batch, for the client's goroutines
}

// topic is one of them.
type topic struct {
	spread int // keys are spread over so many partitions, the first ones
	most   int // bytes of a record batch
}

// bar is why nothing is written to a topic: it does not exist, or is not for this user.
type bar struct {
	why  error
	seen time.Time
}

const (
	keepEvery     = 12 * time.Hour
	mostBarred    = 1000
	barredFor     = 5 * time.Second // it is looked for again after that
	defaultMost   = 1_000_012       // bytes of a batch: a little below what brokers take by default
	leastMost     = 512
	mostBytes     = 64 << 20 // of a batch, whatever a topic takes
	batchOverhead = 128      // bytes of a batch and a record besides what is counted
)

// newTopics returns the topics of a new client. old is what the client before it knew, or nil.
func newTopics(t *Target, old *topics) *topics {
	s := &topics{target: t, known: make(map[string]*topic), barred: make(map[string]bar), hasher: kgo.StickyKeyPartitioner(nil).ForTopic("")}
	if old != nil {
		s.barred = old.barred
	}
	return s
}

// isOfTopic reports whether err is about a topic that a message has named, and not about the configuration: then only this message is to blame.
func (s *topics) isOfTopic(err error) bool {
	if s.target.topic.Literal() {
		return false
	}
	for _, e := range []error{kerr.TopicAuthorizationFailed, kerr.InvalidTopicException, kerr.PolicyViolation} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// bar notes why nothing is written to a topic.
func (s *topics) bar(name string, why error, now time.Time) {
	if len(s.barred) >= mostBarred {
		clear(s.barred)
	}
	s.barred[name] = bar{why, now}
	delete(s.known, name)
}

// unknown returns the topics of records of which nothing is known, each once, in the order of the records.
func (s *topics) unknown(writes []*write, now time.Time) (names []string) {
	var last string
	seen := make(map[string]bool)
	for _, each := range writes {
		for _, r := range each.records {
			if r.To == last {
				continue
			}
			last = r.To
			if s.known[last] != nil || seen[last] || now.Sub(s.barred[last].seen) < barredFor {
				continue
			}
			seen[last] = true
			names = append(names, last)
		}
	}
	return names
}

// learn asks the brokers about those topics of records that are not known yet. An error is about all
// records.
func (s *topics) learn(ctx context.Context, c *kgo.Client, writes []*write) error {
	now := time.Now()
	names := s.unknown(writes, now)
	if len(names) == 0 {
		return s.keepAgain(ctx, c)
	}
	details, err := s.list(ctx, c, names, now)
	if err != nil {
		return err
	}
	var found []string
	for _, name := range names {
		switch d := details[name]; {
		case s.barred[name].seen.Equal(now): // it cannot be created
		case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			s.bar(name, errMissing, now)
		case s.isOfTopic(d.Err):
			s.bar(name, d.Err, now)
		case d.Err != nil:
			return fmt.Errorf("topic %s: %w", name, d.Err)
		case d.Partitions == 0:
			return fmt.Errorf("topic %s has no partitions yet", name)
		case len(s.known) < s.target.config.MaxTopics:
			found = append(found, name)
			s.known[name] = &topic{spread: d.Partitions, most: defaultMost}
		}
	}
	if len(found) == 0 {
		return nil
	}
	s.learnSizes(ctx, kadm.NewClient(c), found)
	for _, name := range found {
		s.sizes.Store(name, int32(s.known[name].most))
	}
	if err := s.learnSpreads(ctx, c, found); err != nil {
		for _, name := range found {
			delete(s.known, name)
		}
		return err
	}
	return nil
}

// list describes topics, and creates those that are missing if it may. Those that cannot be created are barred.
func (s *topics) list(ctx context.Context, c *kgo.Client, names []string, now time.Time) (map[string]description, error) {
	details, err := describe(ctx, c, names)
	if err != nil || !s.target.config.CreateTopics {
		return details, err
	}
	var missing []string
	for _, name := range names {
		if errors.Is(details[name].Err, kerr.UnknownTopicOrPartition) && len(s.known)+len(missing) < s.target.config.MaxTopics {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return details, nil
	}
	answers, err := kadm.NewClient(c).CreateTopics(ctx, -1, -1, nil, missing...)
	if err != nil {
		return nil, err
	}
	var created []string
	for name, a := range answers {
		switch {
		case a.Err == nil, errors.Is(a.Err, kerr.TopicAlreadyExists):
			created = append(created, name)
		case s.isOfTopic(a.Err), errors.Is(a.Err, kerr.ClusterAuthorizationFailed) && !s.target.topic.Literal():
			s.bar(name, fmt.Errorf("it cannot be created: %w %s", a.Err, a.ErrMessage), now)
		default:
			return nil, fmt.Errorf("topic %s cannot be created: %w %s", name, a.Err, a.ErrMessage)
		}
	}
	if len(created) == 0 {
		return details, nil
	}
	s.target.log.Info("topics were created", "topics", created)
	return nil, fmt.Errorf("topics were created and are not known yet: %v", created)
}

// description is what the brokers say of a topic.
type description struct {
	Partitions int
	Err        error
}

// describe asks what the brokers say of topics. kadm would return no answer if the user may not see one of them.
func describe(ctx context.Context, c *kgo.Client, names []string) (map[string]description, error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		request.Topics = append(request.Topics, topic)
	}
	answer, err := c.RequestCachedMetadata(ctx, request, 0)
	if err != nil {
		return nil, err
	}
	all := make(map[string]description, len(answer.Topics))
	for _, t := range answer.Topics {
		if t.Topic != nil {
			all[*t.Topic] = description{len(t.Partitions), kerr.ErrorForCode(t.ErrorCode)}
		}
	}
	return all, nil
}

// learnSizes asks how large the batches of topics may be. Who may not ask finds out when a batch is refused.
func (s *topics) learnSizes(ctx context.Context, admin *kadm.Client, names []string) {
	configs, err := admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return
	}
	for _, c := range configs {
		t := s.known[c.Name]
		if c.Err != nil || t == nil {
			continue
		}
		for _, entry := range c.Configs {
			if entry.Key == "max.message.bytes" && entry.Value != nil {
				if n, err := strconv.Atoi(*entry.Value); err == nil {
					t.most = max(leastMost, min(n, mostBytes))
				}
			}
		}
	}
}

// learnSpreads asks over how many partitions the keys of topics are spread, and notes that for topics that have no such number yet.
func (s *topics) learnSpreads(ctx context.Context, c *kgo.Client, names []string) error {
	t := s.target
	if s.numbers == nil {
		numbers, err := client.Numbers(ctx, c, t.group)
		switch {
		case err == nil:
		case client.Misconfigured(err):
			t.log.Warn("the number of partitions over which keys are spread cannot be kept in Kafka: set partitions before you add some",
				"group", t.group, "error", err)
			numbers = make(map[string]int64)
		default:
			return err
		}
		s.numbers = numbers
	}
	for _, name := range names {
		state := s.known[name]
		has := state.spread
		switch n := int(s.numbers[name]); {
		case t.config.Partitions > 0:
			state.spread = min(has, t.config.Partitions)
		case n > 0:
			state.spread = min(has, n)
		}
		if state.spread < has {
			t.log.Info("the topic has more partitions than keys are spread over, so that a device's records stay in order",
				"topic", name, "partitions", has, "keys", state.spread)
		}
	}
	return s.keep(ctx, c, names)
}

// keep keeps the numbers of topics in Kafka.
func (s *topics) keep(ctx context.Context, c *kgo.Client, names []string) error {
	numbers := make(map[string]int64)
	for _, name := range names {
		numbers[name] = int64(s.known[name].spread)
	}
	err := client.KeepNumbers(ctx, c, s.target.group, numbers)
	if err == nil || client.Misconfigured(err) {
		s.kept = time.Now()
		return nil
	}
	return err
}

// keepAgain keeps the numbers of all topics once per keepEvery, because Kafka forgets old ones.
func (s *topics) keepAgain(ctx context.Context, c *kgo.Client) error {
	if len(s.known) == 0 || time.Since(s.kept) < keepEvery {
		return nil
	}
	return s.keep(ctx, c, slices.Collect(maps.Keys(s.known)))
}

// partition returns the partition of a record, which has a key, in its topic, as other clients of Kafka would choose it.
func (s *topics) partition(r *kgo.Record) int32 {
	return int32(s.hasher.Partition(r, s.known[r.Topic].spread))
}

// admit returns why r cannot be written.
func (s *topics) admit(r *pump.Record) error {
	t := s.known[r.To]
	switch {
	case t != nil && size(r) > t.most:
		return pump.Refused(fmt.Errorf("the record has %d bytes, and topic %s takes %d", size(r), r.To, t.most))
	case t != nil:
		return nil
	case len(s.known) >= s.target.config.MaxTopics:
		return pump.Refused(fmt.Errorf("topic %s would be one more than max_topics", r.To))
	}
	return s.refusal(r.To)
}

// refusal returns the error of a record for a topic that is barred, or missing.
func (s *topics) refusal(name string) error {
	if why := s.barred[name].why; why != nil && why != errMissing { //nolint:errorlint // it is kept as it is
		return pump.Refused(fmt.Errorf("topic %s: %w", name, why))
	}
	err := fmt.Errorf("topic %s: %w", name, errMissing)
	if !s.target.config.CreateTopics {
		err = fmt.Errorf("%w: create it, or set create_topics", err)
	}
	if s.target.topic.Literal() {
		return pump.Misconfigured(err)
	}
	return pump.Refused(err)
}

var errMissing = errors.New("it does not exist")

// batchBytes returns how many bytes a batch of a topic may have. Any goroutine may call it.
func (s *topics) batchBytes(topic string) int32 {
	if n, ok := s.sizes.Load(topic); ok {
		return n.(int32)
	}
	return defaultMost
}

// size returns the bytes that r needs in a batch of its own, or some more.
func size(r *pump.Record) int {
	n := batchOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Name) + len(h.Value) + 10
	}
	return n
}
