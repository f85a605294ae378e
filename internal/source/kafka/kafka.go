package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	client "github.com/longline/longline/internal/kafka"
	"github.com/longline/longline/internal/source/feed"
)

// source is a feed.Feed. A run has a client of its own, which is a member of the group. It gives the records of a partition to take one behind the other,
// marks those that are confirmed without a gap, and the client commits the marks once per second, before a partition is given up, and at the end.
type source struct {
	// Static after Open.
	config  Config
	group   string
	cluster *client.Cluster
	log     *slog.Logger
	drops   *drops

	lag atomic.Int64 // -1 if it is not known
}

// Open makes the source of c, which is valid and has its defaults. It contacts nobody.
func Open(c Config, o feed.Options) (feed.Feed, error) {
	s := &source{config: c, group: cmp.Or(c.Group, c.ClientID+"."+o.Name), log: o.Log, drops: newDrops(o.Log)}
	var err error
	if s.cluster, err = client.Open(c.Config, o.Watcher, o.Log); err != nil {
		return nil, err
	}
	s.lag.Store(-1)
	return s, nil
}

// Close implements feed.Feed.
func (s *source) Close() {}

// Lag implements feed.Feed. It counts records that are read and not confirmed, too.
func (s *source) Lag() (records int64, known bool) {
	n := s.lag.Load()
	return n, n >= 0
}

// Dropped implements feed.Dropping: it counts headers.
func (s *source) Dropped() map[string]uint64 {
	all := make(map[string]uint64, reasons)
	for why, name := range dropNames {
		all[name] = s.drops[why].N()
	}
	return all
}

const (
	commitEvery  = time.Second
	lookEvery    = 5 * time.Second // at the lag
	settleTime   = 5 * time.Second // for records under way, when a partition is given up
	fetchBytes   = 4 << 20         // of one broker's answer
	fetchAtOnce  = 2               // answers in memory
	batchBytes   = 64 << 20        // of a batch when it is decompressed: a producer could make a small one very large
	pollRecords  = 500
	rebalanceFor = 30 * time.Second
)

// Run implements feed.Feed.
func (s *source) Run(ctx context.Context, take feed.Take) error {
	r := &run{source: s, take: take, partitions: make(map[partitionID]*partition)}
	defer s.lag.Store(-1)
	from := kgo.NewOffset().AtStart()
	if s.config.From == Newest {
		from = kgo.NewOffset().AtEnd()
	}
	level := kgo.ReadCommitted()
	if s.config.Uncommitted {
		level = kgo.ReadUncommitted()
	}
	c, err := s.cluster.Client(
		kgo.ConsumerGroup(s.group), kgo.ConsumeTopics(s.config.Topics...), kgo.ConsumeResetOffset(from), kgo.FetchIsolationLevel(level),
		kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchBytes/4), kgo.MaxConcurrentFetches(fetchAtOnce), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.MaxDecompressBatchBytes(batchBytes),
		kgo.AutoCommitMarks(), kgo.AutoCommitInterval(commitEvery), kgo.RebalanceTimeout(rebalanceFor), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(r.assigned), kgo.OnPartitionsRevoked(r.revoked), kgo.OnPartitionsLost(r.lost),
	)
	if err != nil {
		return err
	}
	r.client = c
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		if err := r.watch(ctx); err != nil {
			cancel(err)
		}
	}()
	err = r.read(ctx)
	cancel(err)
	<-looked
	c.AllowRebalance()
	c.CloseAllowingRebalance() // gives up all partitions
	return explain(err)
}

func explain(err error) error {
	if client.Misconfigured(err) {
		return feed.Misconfigured(err)
	}
	return err
}

// run is one run of the source.
type run struct {
	source *source
	take   feed.Take
	client *kgo.Client

	marks      // guards partitions
	partitions map[partitionID]*partition
}

// read gives records to take until ctx ends or something fails.
func (r *run) read(ctx context.Context) error {
	for {
		fetched := r.client.PollRecords(ctx, pollRecords)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for _, e := range fetched.Errors() {
			var loss *kgo.ErrDataLoss
			if errors.As(e.Err, &loss) {
				r.source.log.Warn("records are gone that the source has not read", "topic", e.Topic, "partition", e.Partition, "error", e.Err)
				continue
			}
			return fmt.Errorf("topic %s, partition %d: %w", e.Topic, e.Partition, e.Err)
		}
		for it := fetched.RecordIter(); !it.Done(); {
			record := it.Next()
			if err := r.take(ctx, convert(record, r.source.drops), r.begin(record)); err != nil {
				return err
			}
		}
		r.client.AllowRebalance()
	}
}

// watch looks at the lag until ctx ends. It returns an error when the brokers have been silent for too long.
func (r *run) watch(ctx context.Context) error {
	s := r.source
	tick := time.NewTicker(min(lookEvery, s.config.Timeout/2))
	defer tick.Stop()
	for last := time.Now(); ; {
		switch err := r.look(ctx); {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			last = time.Now()
		case client.Misconfigured(err):
			return err
		case time.Since(last) > s.config.Timeout && errors.Is(err, kerr.UnknownTopicOrPartition):
			return fmt.Errorf("one of the topics is not there, and has to be created: %s", strings.Join(s.config.Topics, ", "))
		case time.Since(last) > s.config.Timeout:
			return fmt.Errorf("the brokers have not answered for %v: %w", s.config.Timeout, cmp.Or(s.cluster.Trouble(), err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks for the ends of this member's partitions, and computes the lag.
func (r *run) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.source.config.Timeout)
	defer cancel()
	admin, topics := kadm.NewClient(r.client), r.source.config.Topics
	ends, err := admin.ListCommittedOffsets(ctx, topics...)
	if err = errors.Join(err, ends.Error()); err != nil {
		return err
	}
	starts, err := admin.ListStartOffsets(ctx, topics...)
	if err = errors.Join(err, starts.Error()); err != nil {
		return err
	}
	var lag int64
	committed := r.client.CommittedOffsets()
	for id, next := range r.next() {
		end, _ := ends.Lookup(id.topic, id.n)
		if next < 0 {
			start, _ := starts.Lookup(id.topic, id.n)
			next = start.Offset
			if o, ok := committed[id.topic][id.n]; ok && o.Offset >= 0 {
				next = o.Offset
			} else if r.source.config.From == Newest {
				next = end.Offset
			}
		}
		lag += max(0, end.Offset-next)
	}
	r.source.lag.Store(lag)
	return nil
}
