package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	client "github.com/longline/longline/internal/kafka"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

// Target is a pump.Target. Records go to Kafka in rounds (see writer).
type Target struct {
	// Static after Open.
	config  Config
	topic   route.Template
	key     route.Template
	cluster *client.Cluster
	group   string // has the number of partitions of each topic
	log     *slog.Logger
	life    context.Context
	end     context.CancelFunc
	ended   sync.WaitGroup

	lanes    lanes
	writer   *writer
	patience pump.Patience
}

var (
	_ pump.Target        = (*Target)(nil)
	_ pump.Transactional = (*transactional)(nil)
)

// Open makes the target of c, which is valid and has its defaults. It contacts nobody.
func Open(c Config, o pump.Options) (pump.Target, error) {
	t := &Target{config: c, group: groupName(c.ClientID, o.Name, "partitions"), log: o.Log}
	var err error
	if t.topic, err = route.ParseTemplate(c.Topic); err != nil {
		return nil, fmt.Errorf("topic: %w", err)
	}
	if t.key, err = route.ParseTemplate(c.Key); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if t.cluster, err = client.Open(c.Config, o.Watcher, o.Log); err != nil {
		return nil, err
	}
	t.life, t.end = context.WithCancel(context.Background())
	t.lanes.init()
	t.writer = &writer{target: t, placing: placing{moved: make(chan struct{}, 1)}}
	if c.Transactional {
		return newTransactional(t, groupName(c.ClientID, o.Name, strconv.Itoa(int(o.Node)))), nil
	}
	t.ended.Go(t.writer.run)
	return t, nil
}

// groupName returns the name of a group of a sink's own. Names of sinks have no dots.
func groupName(clientID, sink, what string) string {
	return strings.Join([]string{clientID, sink, what}, ".")
}

// Prepare implements pump.Target.
func (t *Target) Prepare(v *route.View, r *pump.Record) (err error) {
	if r.To, err = t.topic.Render(v); err != nil {
		return err
	}
	if !client.ValidName(r.To) {
		return fmt.Errorf("%q cannot be the name of a topic", r.To)
	}
	key, err := t.key.Render(v)
	if err != nil {
		return err
	}
	if r.Value, r.ContentType, err = v.Encoded(); err != nil {
		return err
	}
	r.Headers = pump.StandardHeaders(make([]pump.Header, 0, standardHeaders+len(v.Message().Properties)), v, r.ContentType)
	for _, p := range v.Message().Properties {
		if isStandard(v.Message(), r.ContentType, p.Key) { // readers that look for the last header of a name would find this one
			continue
		}
		r.Headers = append(r.Headers, pump.Header{Name: p.Key, Value: p.Value})
	}
	if key != "" {
		r.Key = key
	}
	return nil
}

// isStandard reports whether a property has the name of a header that says what the gateway knows.
func isStandard(m *message.Message, contentType, name string) bool {
	return pump.IsForged(m, name) || name == "content-type" && contentType != "" || name == message.Traceparent && m.Trace != nil
}

// standardHeaders is how many headers of its own a record has at most.
const standardHeaders = 6

// Send implements pump.Target.
//
// A record that the brokers have not confirmed after the timeout stays under way, because nobody can take it back: Send then says that they do not
// answer, and when it is called with the same records again, it waits for these.
func (t *Target) Send(ctx context.Context, records []*pump.Record) (done int, err error) {
	for done < len(records) {
		b := t.lanes.join(records[done:])
		if err := t.await(ctx, b); err != nil {
			return done, err
		}
		t.lanes.leave(b)
		done += b.done
		if b.err != nil {
			return done, b.err
		}
	}
	return done, nil
}

// await waits until b is finished.
func (t *Target) await(ctx context.Context, b *batch) error {
	timer := time.NewTimer(t.config.Timeout)
	defer timer.Stop()
	select {
	case <-b.finished:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return t.noAnswer()
	}
}

// noAnswer says that the brokers do not answer, and if it is known why.
func (t *Target) noAnswer() error {
	if trouble := t.cluster.Trouble(); trouble != nil {
		return fmt.Errorf("the brokers have not answered for %v: %w", t.config.Timeout, trouble)
	}
	return fmt.Errorf("the brokers have not answered for %v", t.config.Timeout)
}

// Close implements pump.Target.
func (t *Target) Close() {
	t.end()
	t.ended.Wait()
	t.writer.discard()
}

// options are those of a client that writes to topics.
func (t *Target) options(s *topics) []kgo.Opt {
	codec := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[t.config.Compression]
	return []kgo.Opt{
		kgo.ProducerBatchCompression(codec),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ManualFlushing(),
		kgo.MaxBufferedRecords(maxBuffered),
		kgo.UnknownTopicRetries(unknownRetries),
		kgo.ProducerBatchMaxBytesFn(s.batchBytes),
		kgo.WithHooks(&t.writer.placing),
	}
}

const (
	maxBuffered    = 1 << 20 // more than a round has
	unknownRetries = 8
)
