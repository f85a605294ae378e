package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/longline/longline/internal/route"
	"github.com/longline/longline/internal/sink/pump"
)

// target publishes records to streams.
//
// A server may lose a message and take those behind it, such as while another server becomes the leader of a stream. So of each key there is one
// message under way at a time, and of many keys many.
type target struct {
	// Static after construction.
	config  Config
	subject route.Template
	link    pump.Connection[*link]

	patience pump.Patience
	worked   atomic.Bool // some message was acknowledged
}

// Open implements what pump.Options says of targets.
func Open(c Config, o pump.Options) (pump.Target, error) {
	t := &target{config: c}
	var err error
	if t.subject, err = c.subject(); err != nil {
		return nil, fmt.Errorf("subject: %w", err)
	}
	t.link.End = (*link).close
	if t.link.Dial, err = dialer(c, o); err != nil {
		return nil, err
	}
	return t, nil
}

// Close implements pump.Target.
func (t *target) Close() { t.link.Close() }

// Prepare implements pump.Target.
func (t *target) Prepare(v *route.View, r *pump.Record) (err error) {
	if r.To, err = t.subject.Render(v); err != nil {
		return err
	}
	if err := checkSubject(r.To); err != nil {
		return err
	}
	if r.Value, r.ContentType, err = v.Encoded(); err != nil {
		return err
	}
	// The time is in the ID because places may begin anew, or another gateway may have the same number.
	r.Headers = append(r.Headers, pump.Header{Name: nats.MsgIdHdr, Value: pump.ID(v) + "/" + strconv.FormatInt(v.Time.UnixMilli(), 10)})
	if t.config.Stream != "" {
		r.Headers = append(r.Headers, pump.Header{Name: nats.ExpectedStreamHdr, Value: t.config.Stream})
	}
	r.Headers = pump.StandardHeaders(r.Headers, v, r.ContentType)
	return nil
}

// Send implements pump.Target.
func (t *target) Send(ctx context.Context, records []*pump.Record) (done int, err error) {
	l, err := t.connect(ctx)
	if err != nil {
		return confirmed(records), t.meaning(err)
	}
	s := sending{target: t, ctx: ctx, link: l, denied: l.watch(), refused: make(map[*pump.Record]error)}
	defer l.unwatch(s.denied)
	var waiting []*pump.Record
	for _, r := range records {
		if !r.Confirmed {
			waiting = append(waiting, r)
		}
	}
	var failed error
	for len(waiting) > 0 && failed == nil {
		var round []*pump.Record
		round, waiting = split(waiting)
		failed = s.publish(round)
	}
	if done = confirmed(records); done == len(records) {
		return done, nil
	}
	if refused := s.refused[records[done]]; refused != nil {
		return done, refused
	}
	return done, failed
}

var errEnded = errors.New("the connection has ended")

// connect returns the connection.
func (t *target) connect(ctx context.Context) (*link, error) {
	l, err := t.link.Get(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-l.ended:
		t.link.Drop(l)
		return t.link.Get(ctx)
	default:
		return l, nil
	}
}

// confirmed returns how many of the first records are confirmed.
func confirmed(records []*pump.Record) (n int) {
	for n < len(records) && records[n].Confirmed {
		n++
	}
	return n
}

// split takes a round off the records that wait: of each key the first, and at most window.
func split(waiting []*pump.Record) (round, rest []*pump.Record) {
	seen := make(map[string]bool)
	rest = waiting[:0]
	for _, r := range waiting {
		if !seen[r.Key] && len(round) < window {
			round = append(round, r)
		} else {
			rest = append(rest, r)
		}
		seen[r.Key] = true
	}
	return round, rest
}

// sending is one call of Send, and on its goroutine.
type sending struct {
	*target
	ctx     context.Context //nolint:containedctx // it is a call
	link    *link
	denied  chan string
	refused map[*pump.Record]error
}

// publish publishes records of different keys, and waits for what becomes of each: it is confirmed, or in refused. The error is why some are neither.
func (s *sending) publish(round []*pump.Record) (failed error) {
	futures := make([]jetstream.PubAckFuture, len(round))
	for i, r := range round {
		m := &nats.Msg{Subject: r.To, Data: r.Value, Header: make(nats.Header, len(r.Headers))}
		for _, h := range r.Headers {
			m.Header[h.Name] = append(m.Header[h.Name], h.Value)
		}
		var err error
		if futures[i], err = s.link.js.PublishMsgAsync(m, jetstream.WithRetryAttempts(0)); err != nil {
			futures[i] = nil
			if failed = s.settle(r, err); failed != nil {
				break
			}
		}
	}
	var denied map[string]bool
	for i, r := range round {
		for futures[i] != nil && !r.Confirmed && s.refused[r] == nil {
			if denied[r.To] {
				failed = first(failed, s.settle(r, errDenied))
				break
			}
			select {
			case <-futures[i].Ok():
				_ = s.settle(r, nil)
			case err := <-futures[i].Err():
				failed = first(failed, s.settle(r, err))
				futures[i] = nil
			case subject := <-s.denied:
				if denied == nil {
					denied = make(map[string]bool)
				}
				denied[subject] = true
			case <-s.link.ended:
				return first(failed, errEnded)
			case <-s.ctx.Done():
				return first(failed, s.ctx.Err())
			}
		}
	}
	return failed
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// settle notes what became of a record. It returns an error if that is neither that it is confirmed nor that it is refused.
func (s *sending) settle(r *pump.Record, err error) error {
	if err == nil {
		r.Confirmed = true
		s.worked.Store(true)
		s.patience.Renew()
		return nil
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		err = s.noStream(r)
	} else {
		err = s.meaning(s.link.why(err))
	}
	if pump.IsRefused(err) {
		s.refused[r] = err
		return nil
	}
	return err
}

var (
	errDenied   = errors.New("the user may not publish on the subject")
	errNoStream = errors.New("no stream has the subject")
)

// noStream returns what it means that nobody has taken a message: no stream has its subject, or the server is not ready.
func (s *sending) noStream(r *pump.Record) error {
	err := fmt.Errorf("%w %s", errNoStream, r.To)
	if s.subject.Literal() || !s.worked.Load() {
		return s.patience.Misconfigured(err, time.Now())
	}
	// A device may have had a say in the subject, and others have a stream.
	ctx, cancel := context.WithTimeout(s.ctx, s.config.Timeout)
	defer cancel()
	if _, asked := s.link.js.StreamNameBySubject(ctx, r.To); errors.Is(asked, jetstream.ErrStreamNotFound) {
		return pump.Refused(err)
	}
	return err
}

// Codes of errors of JetStream that the library does not name.
const (
	streamNotMatch       jetstream.ErrorCode = 10060
	headerExceedsMaximum jetstream.ErrorCode = 10097
	streamSealed         jetstream.ErrorCode = 10109
)

// meaning returns an error as the pump is to see it.
func (t *target) meaning(err error) error {
	var answer *jetstream.APIError
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject):
		return pump.Refused(err)
	case errors.Is(err, errDenied):
		return t.aboutSubject(err)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired),
		errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, nats.ErrSecureConnWanted):
		return t.patience.Misconfigured(err, time.Now())
	case errors.As(err, &answer):
		switch answer.ErrorCode {
		case jetstream.JSErrCodeStreamMessageExceedsMaximum, headerExceedsMaximum:
			return pump.Refused(err)
		case streamNotMatch:
			return t.aboutSubject(err)
		case jetstream.JSErrCodeJetStreamNotEnabled, jetstream.JSErrCodeJetStreamNotEnabledForAccount, streamSealed:
			return t.patience.Misconfigured(err, time.Now())
		}
	}
	t.patience.Renew()
	return err
}

// aboutSubject returns an error about a subject: it is about the message if a device may have had a say in it.
func (t *target) aboutSubject(err error) error {
	if !t.subject.Literal() {
		return pump.Refused(err)
	}
	return t.patience.Misconfigured(err, time.Now())
}
