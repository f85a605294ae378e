package kafka

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Numbers are kept in Kafka as the offsets of a group that has no members: the number of a topic is the offset of its partition 0.

// Numbers returns the numbers that a group has of topics. Kafka forgets them after offsets.retention.minutes, a week unless it says otherwise, in which
// nobody has kept them again.
func Numbers(ctx context.Context, c *kgo.Client, group string) (map[string]int64, error) {
	all, err := fetch(ctx, c, group)
	if err != nil {
		return nil, err
	}
	numbers := make(map[string]int64)
	for topic := range all {
		switch o, ok := all.Lookup(topic, 0); {
		case !ok:
		case o.Err != nil:
			return nil, o.Err
		case o.At >= 0:
			numbers[topic] = o.At
		}
	}
	return numbers, nil
}

// Offset returns the offset that a group has of partition 0 of a topic. Its At is below 0 if there is none.
func Offset(ctx context.Context, c *kgo.Client, group, topic string) (kadm.Offset, error) {
	all, err := fetch(ctx, c, group)
	if err != nil {
		return kadm.Offset{}, err
	}
	o, ok := all.Lookup(topic, 0)
	if !ok {
		return kadm.Offset{At: -1}, nil
	}
	return o.Offset, o.Err
}

// fetch returns the offsets of a group, after the transactions that change them have ended. A group that does not exist has none.
func fetch(ctx context.Context, c *kgo.Client, group string) (kadm.OffsetResponses, error) {
	all, err := kadm.NewClient(c).FetchOffsets(kadm.RequireStable(ctx), group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return nil, nil
	}
	return all, err
}

// KeepNumbers keeps numbers of topics.
func KeepNumbers(ctx context.Context, c *kgo.Client, group string, numbers map[string]int64) error {
	offsets := make(kadm.Offsets)
	for topic, n := range numbers {
		offsets.AddOffset(topic, 0, n, -1)
	}
	answers, err := kadm.NewClient(c).CommitOffsets(ctx, group, offsets)
	return errors.Join(err, answers.Error())
}
