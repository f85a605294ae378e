package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	client "github.com/longline/longline/internal/kafka"
	"github.com/longline/longline/internal/sink/pump"
)

// writer writes records in rounds: it takes the batches of all lanes that wait, gives their records to the client, and waits until the brokers have
// confirmed or refused each. Meanwhile the next round gathers. The client sends nothing before all records of the round are in their partitions, so when
// a record of a partition fails, those behind it fail too, and none of them overtakes it.
//
// The client is an idempotent producer that tries without end. What it was given cannot be taken back: no context and no timeout ends a record, because
// then nobody would know whether it was written. If a record fails, the client is discarded with all that it knows of sequences, and the
// lanes send again what was not confirmed.
type writer struct {
	// Static after Open.
	target *Target
	extra  []kgo.Opt // of clients

	// Owned by the goroutine that writes.
	client *kgo.Client // nil if there is none
	topics *topics

	placing placing // of the client's records in their partitions
}

// mostInRound bounds the records of a round, unless one batch has more.
const mostInRound = 10_000

// run writes rounds until the target ends.
func (w *writer) run() {
	t := w.target
	for {
		select {
		case <-t.life.Done():
			return
		case <-t.lanes.news:
			w.round(t.lanes.take(mostInRound))
		}
	}
}

// round writes batches and finishes them.
func (w *writer) round(batches []*batch) {
	writes := make([]*write, len(batches))
	for i, b := range batches {
		writes[i] = newWrite(b.records)
	}
	w.write(w.target.life, writes...)
	for i, b := range batches {
		if done, err := writes[i].result(); isOfOneRecord(err) && len(b.records) > 1 {
			_ = w.isolate(writes[i], writes[i].open(done)) // result has it
		}
		b.done, b.err = writes[i].result()
		b.err = w.target.explain(b.err)
		writes[i].note()
		close(b.finished)
	}
}

// isolate writes the records of a write with these numbers, of which one is to blame for what the others suffer too. It halves them until that record is
// alone, and stops behind it, so that none is written that its lane would send again.
func (w *writer) isolate(all *write, numbers []int) error {
	part := newWrite(nil)
	for _, i := range numbers {
		part.add(all.records[i])
	}
	w.write(w.target.life, part)
	for at, i := range numbers {
		all.failed[i] = part.failed[at]
	}
	switch _, err := part.result(); {
	case err == nil:
		return nil
	case !isOfOneRecord(err) || len(numbers) == 1:
		return err
	}
	half := len(numbers) / 2
	for _, side := range [][]int{numbers[:half], numbers[half:]} {
		if err := w.isolate(all, all.among(side)); err != nil {
			return err
		}
	}
	return nil
}

// write writes records. If it ends early because ctx has ended, the client is discarded.
func (w *writer) write(ctx context.Context, writes ...*write) {
	if err := w.prepare(ctx, writes); err != nil {
		for _, each := range writes {
			each.fail(0, err)
		}
		return
	}
	var unanswered sync.WaitGroup
	w.placing.begin()
	for _, each := range writes {
		w.give(each, &unanswered)
	}
	w.placing.await(ctx)
	if err := w.client.Flush(ctx); err != nil {
		w.discard()
	}
	unanswered.Wait()
	for _, each := range writes {
		w.barTopics(each)
	}
	if slices.ContainsFunc(writes, func(each *write) bool { return each.broken }) {
		w.discard()
	}
}

// barTopics bars topics that messages have named and that the brokers do not let this user write to. In a transaction all records fail for one.
func (w *writer) barTopics(each *write) {
	if w.transactional() {
		return
	}
	for i, err := range each.failed {
		if to := each.records[i].To; err != nil && !pump.IsRefused(err) && w.topics.isOfTopic(err) {
			w.topics.bar(to, err, time.Now())
			each.failed[i] = w.topics.refusal(to)
		}
	}
}

// prepare makes a client if there is none, and learns about the topics of the records.
func (w *writer) prepare(ctx context.Context, writes []*write) error {
	if w.client == nil {
		w.topics = newTopics(w.target, w.topics)
		var err error
		if w.client, err = w.target.cluster.Client(append(w.target.options(w.topics), w.extra...)...); err != nil {
			return err
		}
	}
	return w.topics.learn(ctx, w.client, writes)
}

func (w *writer) transactional() bool { return w.extra != nil }

// discard ends the client. What it has not written fails.
func (w *writer) discard() {
	if w.client != nil {
		w.client.Close()
		w.client = nil
	}
}

// give gives records to the client, up to the first that cannot be written.
func (w *writer) give(each *write, unanswered *sync.WaitGroup) {
	count, bytes := headerSizes(each.records)
	out, headers, texts := make([]kgo.Record, len(each.records)), make([]kgo.RecordHeader, 0, count), arena{make([]byte, 0, bytes)}
	for i, r := range each.records {
		if r.Confirmed {
			continue
		}
		if err := w.topics.admit(r); err != nil {
			each.fail(i, err)
			return
		}
		first := len(headers)
		for _, h := range r.Headers {
			headers = append(headers, kgo.RecordHeader{Key: h.Name, Value: texts.copy(h.Value)})
		}
		out[i] = kgo.Record{Topic: r.To, Key: texts.copy(r.Key), Value: r.Value, Timestamp: r.Time, Headers: headers[first:len(headers):len(headers)]}
		out[i].Partition = w.topics.partition(&out[i])
		unanswered.Add(1)
		w.placing.give()
		w.client.Produce(context.Background(), &out[i], func(_ *kgo.Record, err error) {
			w.placing.answered()
			each.answer(i, err)
			unanswered.Done()
		})
	}
}

// placing waits until all records that the client was given are in their partitions. Those of a topic that is new to the client are put there by another
// goroutine, when the brokers have told of its partitions: if the client sent already, one could come there behind the failure of those before it.
type placing struct {
	left  atomic.Int64  // records that are not yet there, and have not failed
	ended atomic.Bool   // answers are those of brokers
	moved chan struct{} // has an element if left may have become 0
}

var _ kgo.HookProduceRecordPartitioned = (*placing)(nil)

// begin begins a round.
func (p *placing) begin() {
	p.left.Store(0)
	p.ended.Store(false)
}

// give notes that the client is given a record.
func (p *placing) give() { p.left.Add(1) }

// OnProduceRecordPartitioned implements kgo.HookProduceRecordPartitioned.
func (p *placing) OnProduceRecordPartitioned(*kgo.Record, int32) { p.placed() }

// answered notes that the client has finished a record, which may be because it has no partition to put it into.
func (p *placing) answered() {
	if !p.ended.Load() {
		p.placed()
	}
}

func (p *placing) placed() {
	if p.left.Add(-1) <= 0 {
		select {
		case p.moved <- struct{}{}:
		default:
		}
	}
}

// await waits until no record is left, or ctx ends.
func (p *placing) await(ctx context.Context) {
	for p.left.Load() > 0 && ctx.Err() == nil {
		select {
		case <-p.moved:
		case <-ctx.Done():
		}
	}
	p.ended.Store(true)
}

// write is records and what became of each.
type write struct {
	records []*pump.Record
	failed  []error // nil if it is confirmed
	broken  bool    // the client has failed one that it was given
}

// errNotGiven is of a record that the client was not given.
var errNotGiven = errors.New("a record before it failed")

func newWrite(records []*pump.Record) *write {
	e := &write{}
	for _, r := range records {
		e.add(r)
	}
	return e
}

func (e *write) add(r *pump.Record) {
	why := errNotGiven
	if r.Confirmed {
		why = nil
	}
	e.records, e.failed = append(e.records, r), append(e.failed, why)
}

// note tells the records which of them are confirmed, so that none is written twice because one before it failed.
func (e *write) note() {
	for i, err := range e.failed {
		e.records[i].Confirmed = err == nil
	}
}

// fail notes that record i, and so those behind it, were not given to the client.
func (e *write) fail(i int, err error) {
	if e.failed[i] != nil {
		e.failed[i] = err
	}
}

// answer notes what became of record i. The client calls it, for one record at a time.
func (e *write) answer(i int, err error) {
	e.failed[i] = err
	e.broken = e.broken || err != nil
}

// result returns how many of the first records are confirmed, and why the next one is not.
func (e *write) result() (done int, err error) {
	for i, err := range e.failed {
		if err != nil {
			return i, err
		}
	}
	return len(e.failed), nil
}

// open returns the numbers of the records from i on that are not confirmed.
func (e *write) open(i int) (numbers []int) {
	for ; i < len(e.failed); i++ {
		if e.failed[i] != nil {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// among returns those of numbers whose records are not confirmed.
func (e *write) among(numbers []int) (rest []int) {
	for _, i := range numbers {
		if e.failed[i] != nil {
			rest = append(rest, i)
		}
	}
	return rest
}

// isOfOneRecord reports whether a broker has refused a whole batch for what may be the fault of one record.
func isOfOneRecord(err error) bool {
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.CorruptMessage} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// explain returns the outcome of a batch, which may be nil, as one of the pump's kinds. It is safe from any goroutine.
func (t *Target) explain(err error) error {
	switch {
	case pump.IsRefused(err), pump.IsMisconfigured(err):
		return err
	case !isOfOneRecord(err) && client.Misconfigured(err):
		return t.patience.Misconfigured(err, time.Now())
	}
	t.patience.Renew()
	if isOfOneRecord(err) {
		return pump.Refused(err)
	}
	return err
}

// headerSizes returns how many headers records have, and the bytes of their values and of the keys.
func headerSizes(records []*pump.Record) (count, bytes int) {
	for _, r := range records {
		count += len(r.Headers)
		bytes += len(r.Key)
		for _, h := range r.Headers {
			bytes += len(h.Value)
		}
	}
	return count, bytes
}

// arena has bytes of many small values.
type arena struct{ bytes []byte }

func (a *arena) copy(s string) []byte {
	at := len(a.bytes)
	a.bytes = append(a.bytes, s...)
	return a.bytes[at:len(a.bytes):len(a.bytes)]
}
