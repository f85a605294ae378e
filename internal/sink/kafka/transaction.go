package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	client "github.com/longline/longline/internal/kafka"
	"github.com/longline/longline/internal/sink/pump"
)

// transactional is a Target that writes by transactions. A transaction has records and the place in the stream behind them, which is the offset of
// a group of the sink's own. Whatever goes wrong, the client is discarded. The next one has the same transactional id: it fences the other one, also
// that of a process before this one, and Kafka ends its transaction before it tells the place.
type transactional struct {
	*Target

	// Static after Open.
	id   string // of the transactions, and the name of the group
	life string // of this target, at random

	mu sync.Mutex // held while something is written or asked
	// Guarded by mu.
	before string // the life that had written the place when this one first asked for it
	asked  bool
}

func newTransactional(t *Target, id string) *transactional {
	// From these versions on the offset would be a part of the transaction by itself, but only with a client that knows its group.
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.TxnOffsetCommit), 4)
	t.writer.extra = []kgo.Opt{kgo.TransactionalID(id), kgo.MaxVersions(versions)}
	return &transactional{Target: t, id: id, life: rand.Text()}
}

// Place implements pump.Transactional.
func (t *transactional) Place(ctx context.Context) (place uint64, known bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	place, known, err = t.askPlace(ctx)
	if err != nil {
		t.writer.discard()
		err = t.explain(err)
	}
	return place, known, err
}

// askPlace is Place, locked.
func (t *transactional) askPlace(ctx context.Context) (place uint64, known bool, err error) {
	if err := t.writer.prepare(ctx, nil); err != nil {
		return 0, false, err
	}
	if _, _, err := t.writer.client.ProducerID(ctx); err != nil {
		return 0, false, err
	}
	offset, err := client.Offset(ctx, t.writer.client, t.id, t.config.PlaceTopic)
	if err != nil {
		return 0, false, err
	}
	if !t.asked {
		t.before, t.asked = offset.Metadata, true
	}
	if offset.Metadata != t.before && offset.Metadata != t.life {
		return 0, false, pump.Misconfigured(fmt.Errorf("another gateway writes with the transactional id %s: node.number and client_id must tell them apart", t.id))
	}
	return uint64(max(0, offset.At)), offset.At >= 0, nil
}

// SendUpTo implements pump.Transactional. A place without records is not written: the stream has it.
func (t *transactional) SendUpTo(ctx context.Context, records []*pump.Record, place uint64) error {
	if len(records) == 0 {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.transact(ctx, records, t.commitAt(place))
	return t.blame(ctx, records, err)
}

// Send implements pump.Target.
func (t *transactional) Send(ctx context.Context, records []*pump.Record) (done int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.blame(ctx, records, t.transact(ctx, records, t.commit)); err != nil {
		return 0, err
	}
	return len(records), nil
}

// blame returns err, which may be nil, as one of the pump's kinds. If a batch was refused, it finds the record by transactions that it aborts.
func (t *transactional) blame(ctx context.Context, records []*pump.Record, err error) error {
	at := 0
	var of *recordError
	if errors.As(err, &of) {
		at, err = of.at, of.error
	}
	if t.isOfOne(err) {
		var why error
		for at = 0; len(records[at:]) > 1; {
			half := records[at : at+len(records[at:])/2]
			if why = t.transact(ctx, half, t.abort); why == nil {
				at += len(half)
				continue
			}
			if !t.isOfOne(why) {
				return t.explain(why)
			}
			records = records[:at+len(half)]
		}
		if topics := t.writer.topics; topics.isOfTopic(err) {
			topics.bar(records[at].To, err, time.Now())
			err = topics.refusal(records[at].To)
		}
	}
	if err = t.explain(err); pump.IsRefused(err) {
		return pump.RefusedAt(at, err)
	}
	return err
}

// isOfOne reports whether one record may be to blame for an error that all have.
func (t *transactional) isOfOne(err error) bool {
	return !pump.IsRefused(err) && (isOfOneRecord(err) || t.writer.topics.isOfTopic(err))
}

// recordError is an error of one record.
type recordError struct {
	error
	at int
}

func (e *recordError) Unwrap() error { return e.error }

// transact writes all records in a transaction, and ends it by end.
func (t *transactional) transact(ctx context.Context, records []*pump.Record, end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	w := t.writer
	err := func() error {
		if err := w.prepare(ctx, nil); err != nil {
			return err
		}
		if _, _, err := w.client.ProducerID(ctx); err != nil {
			return err
		}
		if err := w.client.BeginTransaction(); err != nil {
			return err
		}
		all := newWrite(records)
		w.write(ctx, all)
		if at, err := all.result(); err != nil {
			return &recordError{err, at}
		}
		return end(ctx)
	}()
	if err != nil {
		w.discard()
		if ctx.Err() != nil {
			return errors.Join(t.noAnswer(), err)
		}
	}
	return err
}

// commit ends a transaction that has records alone.
func (t *transactional) commit(ctx context.Context) error {
	return t.writer.client.EndTransaction(ctx, kgo.TryCommit)
}

// abort ends a transaction that was a trial.
func (t *transactional) abort(ctx context.Context) error {
	return t.writer.client.EndTransaction(ctx, kgo.TryAbort)
}

// commitAt returns what ends a transaction after it has put the place into it.
func (t *transactional) commitAt(place uint64) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := t.addPlace(ctx, place); err != nil {
			return err
		}
		return t.commit(ctx)
	}
}

// addPlace makes the place a part of the transaction.
func (t *transactional) addPlace(ctx context.Context, place uint64) error {
	c := t.writer.client
	id, epoch, err := c.ProducerID(ctx)
	if err != nil {
		return err
	}
	group := kmsg.NewPtrAddOffsetsToTxnRequest()
	group.TransactionalID, group.ProducerID, group.ProducerEpoch, group.Group = t.id, id, epoch, t.id
	added, err := group.RequestWith(ctx, c)
	if err == nil {
		err = kerr.ErrorForCode(added.ErrorCode)
	}
	if err != nil {
		return err
	}
	partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	partition.Offset, partition.Metadata = int64(place), &t.life
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.Partitions = t.config.PlaceTopic, append(topic.Partitions, partition)
	offset := kmsg.NewPtrTxnOffsetCommitRequest()
	offset.TransactionalID, offset.ProducerID, offset.ProducerEpoch, offset.Group = t.id, id, epoch, t.id
	offset.Topics = append(offset.Topics, topic)
	committed, err := offset.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	for _, topic := range committed.Topics {
		for _, p := range topic.Partitions {
			switch err := kerr.ErrorForCode(p.ErrorCode); {
			case errors.Is(err, kerr.UnknownTopicOrPartition):
				return pump.Misconfigured(fmt.Errorf("place_topic %s does not exist", t.config.PlaceTopic))
			case err != nil:
				return err
			}
		}
	}
	return nil
}
