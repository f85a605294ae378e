package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/wire"
)

// errLost is the outcome of an exchange whose link ended before the answer.
var errLost = errors.New("device: the connection was lost")

// defaultHeartbeat counts if hello names none.
const defaultHeartbeat = 30 * time.Second

// link is one live connection to the gateway. Only its reader decides why it ended, because a
// write may fail a moment before the reader gets the close reason.
type link struct {
	// Static after hello.
	ws      *websocket.Conn
	codec   wire.Codec
	hello   wire.Greeting
	born    time.Time
	silence time.Duration // after which the device gives up the connection
	pause   time.Duration // after which the device pings
	timeout time.Duration // of one write
	log     *slog.Logger

	// Safe from any goroutine.
	ctx     context.Context // ends with the link; its cause says why
	fail    context.CancelCauseFunc
	heard   atomic.Int64 // when something arrived last, in nanoseconds after born
	blocked atomic.Bool  // the reader waits for room in the handlers' queue
	work    sync.WaitGroup

	// Safe from any goroutine; see renew.
	lifetime atomic.Int64  // nanoseconds for which the token is valid, as the gateway said last; 0 means no limit
	renewal  atomic.Uint64 // id of the last refresh

	// Guarded by mu.
	mu      sync.Mutex
	answers map[uint64]chan error   // of sub, unsub and refresh, by id
	calls   map[uint64]*pendingCall // of services, by id
}

func newLink(o *Options) *link {
	l := &link{
		codec:   o.Protocol.codec(),
		born:    time.Now(),
		silence: o.ReadTimeout,
		timeout: o.WriteTimeout,
		log:     o.Logger,
		answers: make(map[uint64]chan error),
		calls:   make(map[uint64]*pendingCall),
	}
	l.ctx, l.fail = context.WithCancelCause(context.Background())
	return l
}

// greet reads hello, which must be the first packet.
func (l *link) greet(ctx context.Context) error {
	p, err := l.receive(ctx)
	if err != nil {
		return err
	}
	if p.Op != wire.Hello {
		return errors.New("device: the gateway did not start with hello")
	}
	l.hello = p.Hello
	l.lifetime.Store(int64(p.Lifetime))
	heartbeat := positive(l.hello.Heartbeat, defaultHeartbeat)
	l.silence = positive(l.silence, 2*heartbeat)
	l.pause = min(heartbeat, l.silence/2)
	return nil
}

// receive returns the next packet. The packet owns its bytes: each is read into a buffer of its own.
func (l *link) receive(ctx context.Context) (*wire.Packet, error) {
	kind, r, err := l.ws.Reader(ctx)
	if err != nil {
		return nil, lost(err)
	}
	frame, err := io.ReadAll(heardReader{l, r})
	if err != nil {
		return nil, lost(err)
	}
	p := new(wire.Packet)
	if err := l.codec.Decode(p, frame, kind == websocket.MessageText); err != nil {
		var c *wire.Close
		if errors.As(err, &c) {
			_ = l.ws.Close(websocket.StatusCode(c.Code), c.Reason)
		}
		return nil, fmt.Errorf("device: a packet of the gateway: %w", err)
	}
	return p, nil
}

// lost returns why the connection ended, from the error of a read.
func lost(err error) error {
	var c websocket.CloseError
	if errors.As(err, &c) {
		return &StatusError{Code: int(c.Code), Reason: c.Reason, RetryAfter: wire.AskedDelay(c.Reason)}
	}
	return fmt.Errorf("%w: %w", errLost, err)
}

// heardReader notes when bytes arrive, so that a long message on a slow line does not count as silence.
type heardReader struct {
	l *link
	r io.Reader
}

func (h heardReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.l.hear()
	return n, err
}

func (l *link) hear() { l.heard.Store(int64(time.Since(l.born))) }

func (l *link) quiet() time.Duration { return time.Since(l.born) - time.Duration(l.heard.Load()) }

// send writes one frame.
func (l *link) send(frame []byte) error {
	ctx, cancel := context.WithTimeout(l.ctx, l.timeout)
	defer cancel()
	kind := websocket.MessageBinary
	if l.codec.Text() {
		kind = websocket.MessageText
	}
	if err := l.ws.Write(ctx, kind, frame); err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return nil
}

// expect makes answered send the outcome of id to answer; nil ends that.
func (l *link) expect(id uint64, answer chan error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if answer == nil {
		delete(l.answers, id)
		return
	}
	l.answers[id] = answer
}

// answered sends the outcome to the channel that expects it. It reports whether there is one.
func (l *link) answered(id uint64, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	answer, ok := l.answers[id]
	if ok {
		delete(l.answers, id)
		answer <- err
	}
	return ok
}

// watch pings the gateway when it was silent for l.pause, and fails the link when it was silent for
// l.silence. While the reader is blocked, silence does not count, because the device does not read; the pings then show the
// gateway that the device is alive.
func (l *link) watch() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-time.After(l.pause - l.quiet()):
		}
		if l.quiet() < l.pause {
			continue
		}
		err := l.ping()
		switch {
		case err == nil:
		case !l.blocked.Load() && l.quiet() >= l.silence:
			l.fail(ErrSilent)
			return
		case !errors.Is(err, context.DeadlineExceeded):
			l.abandon(err)
			return
		}
	}
}

// ping sends a ping and returns when the pong arrives, or after l.pause.
func (l *link) ping() error {
	wait := l.pause
	if !l.blocked.Load() {
		wait = min(wait, l.silence-l.quiet())
	}
	ctx, cancel := context.WithTimeout(l.ctx, wait)
	defer cancel()
	return l.ws.Ping(ctx)
}

// abandon fails a link after a failed write. If the reader is not blocked, it will find out why the link
// ended, and fail the link itself.
func (l *link) abandon(err error) {
	if l.blocked.Load() {
		l.fail(fmt.Errorf("%w: %w", errLost, err))
	}
}
