package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/protofield"
	"github.com/longline/longline/internal/stream"
	"github.com/longline/longline/proto/longline/v1/longlinev1connect"
)

// A node reads another's part of a stream by requests of the procedure Consume, each of which gets one batch. The other node keeps the reader open between them.
// Each request says what the last answer was, so that an answer that was lost is given again.

var errNoPart = errors.New("no node's part of the stream can be read")

// readRequest asks for entries of a node's part of a stream.
type readRequest struct {
	reader   string // names the reader at the node
	stream   string
	consumer string
	start    begin
	begins   bool   // wants to know where reading begins, and no entries
	after    uint64 // otherwise the place of the last answer
	messages int
	bytes    int
	closes   bool // closes the reader
}

// readAnswer is what a node has of its part. With neither entries nor missed ones, there were none within nodeWait.
type readAnswer struct {
	place   uint64 // of the last entry that the reader has
	end     uint64 // the stream's
	missed  uint64
	entries []stream.Entry
}

// begin says where reading a part begins.
type begin struct {
	kind  beginKind
	place uint64
	at    time.Time
}

type beginKind uint8

const (
	beginFirst beginKind = iota
	beginLatest
	beginAfter
	beginAt
)

func (b begin) start() stream.Start {
	switch b.kind {
	case beginLatest:
		return stream.Latest
	case beginAfter:
		return stream.After(b.place)
	case beginAt:
		return stream.At(b.at)
	}
	return stream.First
}

// readNode reads from a node's part, which may be this one's.
func (a *API) readNode(ctx context.Context, node string, r *readRequest) (answer readAnswer, err error) {
	if node == a.self() {
		answer, err = a.readPart(ctx, r)
		return answer, coded(err)
	}
	ctx, cancel := context.WithTimeout(ctx, nodeWait+a.asking)
	defer cancel()
	body, err := a.askBytes(ctx, node, longlinev1connect.GatewayConsumeProcedure, r.append(nil), nil)
	if err == nil {
		if answer, err = parseReadAnswer(body); err != nil {
			err = ofNode(node, err)
		}
	}
	return answer, err
}

// readPart answers a request for this node's part.
func (a *API) readPart(ctx context.Context, r *readRequest) (answer readAnswer, err error) {
	s, err := a.stream(r.stream)
	if err != nil {
		return answer, err
	}
	if r.closes {
		a.held.end(r.reader)
		return answer, nil
	}
	h, err := a.held.take(ctx, r.reader)
	if err != nil {
		return answer, err
	}
	defer a.held.give(r.reader, h)
	if h.over != nil {
		return answer, h.over
	}
	if h.reader == nil || !r.begins && h.next != r.after+1 {
		if err := h.open(s, r); err != nil {
			return answer, err
		}
	}
	if !r.begins {
		err = h.read(ctx, r, &answer)
	}
	answer.place, answer.end = h.next-1, s.End()
	return answer, err
}

const (
	heldFor  = 30 * time.Second // how long a reader for another node is kept without a request
	mostHeld = 1000
)

// heldReaders are the readers that other nodes have here, and this one's own of streams of the cluster. Safe from any goroutine.
type heldReaders struct {
	mu  sync.Mutex
	all map[string]*heldReader
}

// heldReader is one of them. Whoever has taken turn owns reader, next and over.
type heldReader struct {
	// Static.
	turn   chan struct{}   // has one token
	life   context.Context // until it is ended
	cancel context.CancelFunc

	reader *stream.Reader
	next   uint64 // place of the next entry
	over   error  // why it must not be opened again: another reader has its consumer, or nobody

	// Guarded by heldReaders.mu.
	users int         // who have it or wait for their turn
	idle  *time.Timer // ends it when nobody has used it for heldFor
	ended bool
}

// take returns the reader of a name, which may not be open yet, when it is the caller's turn.
func (l *heldReaders) take(ctx context.Context, name string) (*heldReader, error) {
	l.mu.Lock()
	h := l.all[name]
	if h == nil {
		if len(l.all) >= mostHeld {
			l.mu.Unlock()
			return nil, exhausted("%d readers of streams are open for the nodes of the cluster, which is the limit", mostHeld)
		}
		if l.all == nil {
			l.all = make(map[string]*heldReader)
		}
		h = &heldReader{turn: make(chan struct{}, 1)}
		h.life, h.cancel = context.WithCancel(context.Background())
		h.turn <- struct{}{}
		h.idle = time.AfterFunc(heldFor, func() { l.expire(name, h) })
		l.all[name] = h
	}
	h.users++
	l.mu.Unlock()
	select {
	case <-h.turn:
		return h, nil
	case <-ctx.Done():
		l.leave(h)
		return nil, coded(ctx.Err())
	}
}

// give ends the caller's turn.
func (l *heldReaders) give(name string, h *heldReader) {
	l.mu.Lock()
	ended := h.ended
	l.mu.Unlock()
	if ended {
		h.close()
	}
	h.turn <- struct{}{}
	l.leave(h)
}

func (l *heldReaders) leave(h *heldReader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h.users--; !h.ended {
		h.idle.Reset(heldFor)
	}
}

// expire ends a reader that nobody has used.
func (l *heldReaders) expire(name string, h *heldReader) {
	l.mu.Lock()
	used := h.users > 0
	l.mu.Unlock()
	if !used {
		l.end(name)
	}
}

// end ends a reader: now, or when whoever has it gives it back.
func (l *heldReaders) end(name string) {
	l.mu.Lock()
	h := l.all[name]
	if h != nil {
		delete(l.all, name)
		h.ended = true
		h.idle.Stop()
		h.cancel() // whoever waits for entries gives it back
	}
	l.mu.Unlock()
	if h == nil {
		return
	}
	select {
	case <-h.turn:
		h.close()
		h.turn <- struct{}{}
	default:
	}
}

// endAll ends all readers.
func (l *heldReaders) endAll() {
	l.mu.Lock()
	names := make([]string, 0, len(l.all))
	for name := range l.all {
		names = append(names, name)
	}
	l.mu.Unlock()
	for _, name := range names {
		l.end(name)
	}
}

func (h *heldReader) close() {
	if h.reader != nil {
		h.reader.Close()
		h.reader = nil
	}
}

// open opens the reader, or opens it again behind what the other node has: an answer was lost, or this node was started again.
func (h *heldReader) open(s *stream.Stream, r *readRequest) (err error) {
	h.close()
	start := r.start.start()
	if !r.begins {
		start = stream.After(r.after)
	}
	if h.reader, err = s.Open(r.consumer, start); err != nil {
		return coded(err)
	}
	h.next = h.reader.Place()
	return nil
}

// read waits for entries, nodeWait at most.
func (h *heldReader) read(ctx context.Context, r *readRequest, answer *readAnswer) error {
	wait, cancel := context.WithTimeout(ctx, nodeWait)
	defer cancel()
	stop := context.AfterFunc(h.life, cancel)
	defer stop()
	for {
		batch, missed, err := h.reader.Take(wait, r.messages, r.bytes, nil)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return nil
		case err != nil:
			h.close()
			if err = ofDisk(err); errors.Is(err, stream.ErrTakenOver) || errors.Is(err, stream.ErrDeleted) {
				h.over = err
			}
			return err
		}
		h.next = h.reader.Place()
		for len(batch) > 0 && batch[0].Place <= r.after { // a consumer that is opened again begins with what it has not acknowledged
			batch = batch[1:]
		}
		if answer.entries, answer.missed = batch, missed; len(batch) > 0 || missed > 0 {
			return nil
		}
	}
}

// The fields of requests and answers, in protobuf's wire format. A number is never reused.
const (
	fieldReadReader   protowire.Number = 1
	fieldReadStream   protowire.Number = 2
	fieldReadConsumer protowire.Number = 3
	fieldReadKind     protowire.Number = 4
	fieldReadPlace    protowire.Number = 5
	fieldReadTime     protowire.Number = 6 // Unix milliseconds
	fieldReadBegins   protowire.Number = 7
	fieldReadAfter    protowire.Number = 8
	fieldReadMessages protowire.Number = 9
	fieldReadBytes    protowire.Number = 10
	fieldReadCloses   protowire.Number = 11

	fieldAnswerPlace  protowire.Number = 1
	fieldAnswerEnd    protowire.Number = 2
	fieldAnswerMissed protowire.Number = 3
	fieldAnswerEntry  protowire.Number = 4

	fieldEntryPlace  protowire.Number = 1
	fieldEntryRecord protowire.Number = 2
)

func (r *readRequest) append(dst []byte) []byte {
	dst = protofield.AppendText(dst, fieldReadReader, r.reader)
	dst = protofield.AppendText(dst, fieldReadStream, r.stream)
	dst = protofield.AppendText(dst, fieldReadConsumer, r.consumer)
	dst = protofield.AppendNumber(dst, fieldReadKind, uint64(r.start.kind))
	dst = protofield.AppendNumber(dst, fieldReadPlace, r.start.place)
	if !r.start.at.IsZero() {
		dst = protofield.AppendNumber(dst, fieldReadTime, uint64(max(0, r.start.at.UnixMilli())))
	}
	dst = protofield.AppendNumber(dst, fieldReadBegins, protowire.EncodeBool(r.begins))
	dst = protofield.AppendNumber(dst, fieldReadAfter, r.after)
	dst = protofield.AppendNumber(dst, fieldReadMessages, uint64(r.messages))
	dst = protofield.AppendNumber(dst, fieldReadBytes, uint64(r.bytes))
	return protofield.AppendNumber(dst, fieldReadCloses, protowire.EncodeBool(r.closes))
}

// mostPlace is the highest place, behind which there must be another one.
const mostPlace = 1<<63 - 1

func parseReadRequest(p []byte) (*readRequest, error) {
	r := new(readRequest)
	err := protofield.Each(p, errEnvelope, func(f *protofield.Value) error {
		switch f.Num {
		case fieldReadReader:
			r.reader = strings.Clone(f.Text())
		case fieldReadStream:
			r.stream = strings.Clone(f.Text())
		case fieldReadConsumer:
			r.consumer = strings.Clone(f.Text())
		case fieldReadKind:
			r.start.kind = beginKind(f.Within(uint64(beginAt)))
		case fieldReadPlace:
			r.start.place = f.Within(mostPlace)
		case fieldReadTime:
			r.start.at = time.UnixMilli(int64(f.Within(mostPlace)))
		case fieldReadBegins:
			r.begins = f.Within(1) == 1
		case fieldReadAfter:
			r.after = f.Within(mostPlace)
		case fieldReadMessages:
			r.messages = int(f.Within(1 << 20))
		case fieldReadBytes:
			r.bytes = int(f.Within(mostPart))
		case fieldReadCloses:
			r.closes = f.Within(1) == 1
		}
		return nil
	})
	return r, err
}

func (a *readAnswer) append(dst []byte) []byte {
	dst = protofield.AppendNumber(dst, fieldAnswerPlace, a.place)
	dst = protofield.AppendNumber(dst, fieldAnswerEnd, a.end)
	dst = protofield.AppendNumber(dst, fieldAnswerMissed, a.missed)
	for i := range a.entries {
		dst = protofield.AppendWithin(dst, fieldAnswerEntry, &a.entries[i], func(dst []byte, e *stream.Entry) []byte {
			dst = protofield.AppendNumber(dst, fieldEntryPlace, e.Place)
			return protofield.AppendWithin(dst, fieldEntryRecord, e.Message, message.AppendRecord)
		})
	}
	return dst
}

// parseReadAnswer reads an answer, whose messages have views of p.
func parseReadAnswer(p []byte) (a readAnswer, err error) {
	err = protofield.Each(p, errEnvelope, func(f *protofield.Value) error {
		switch f.Num {
		case fieldAnswerPlace:
			a.place = f.Within(mostPlace)
		case fieldAnswerEnd:
			a.end = f.Within(mostPlace)
		case fieldAnswerMissed:
			a.missed = f.Within(mostPlace)
		case fieldAnswerEntry:
			e, err := parseEntry(f.Body())
			a.entries = append(a.entries, e)
			return err
		}
		return nil
	})
	return a, err
}

func parseEntry(p []byte) (e stream.Entry, err error) {
	err = protofield.Each(p, errEnvelope, func(f *protofield.Value) (err error) {
		switch f.Num {
		case fieldEntryPlace:
			e.Place = f.Within(mostPlace)
		case fieldEntryRecord:
			e.Message, err = message.ParseRecord(f.Body())
		}
		return err
	})
	if err == nil && e.Message == nil {
		err = fmt.Errorf("%w: an entry without a message", errEnvelope)
	}
	return e, err
}

// answerRead answers a request of another node for a part.
func (a *API) answerRead(ctx context.Context, body []byte) ([]byte, error) {
	r, err := parseReadRequest(body)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, err)
	}
	if r.consumer != "" {
		if err := callerOf(ctx).raise(auth.Operate); err != nil {
			return nil, err
		}
	}
	answer, err := a.readPart(ctx, r)
	if err != nil {
		return nil, err
	}
	return answer.append(nil), nil
}
