package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Link is what the node knows of its connection to Redis: whether it answers, what time it has, and whether it may have lost what it had
// answered. Each second it looks at all primaries. One that was restarted or promoted has another run id or another
// replication id: then those who keep what was answered lately write it again. Its methods are safe from any goroutine.
type Link struct {
	// Static after construction.
	client   rueidis.Client
	key      string // Redis' time is that of the server with this key
	patience time.Duration
	log      *slog.Logger
	cancel   context.CancelFunc
	done     chan struct{}
	wanted   chan struct{} // a look is wanted now

	// Owned by run.
	primaries map[string]bool // the identities that the last look found

	offset atomic.Int64 // Redis' time less this node's, in nanoseconds
	losses atomic.Uint64

	// Guarded by mu.
	mu     sync.Mutex
	away   time.Time // since when Redis does not answer; zero if it does
	why    error     // while away
	sure   time.Time
	onLoss []func()
	onBack []func()
}

const (
	lookEvery   = time.Second
	lookTimeout = 2 * time.Second
	lookPause   = 100 * time.Millisecond // between two looks, at least
)

// ErrAway is wrapped by Err.
var ErrAway = errors.New("redis is away")

var errNoLook = errors.New("it was not asked yet")

// NewLink returns a link of a client that lasts until Close. Prefix is that of all keys. Until it has looked for the first time, Redis is away.
func NewLink(client rueidis.Client, prefix string, patience time.Duration, log *slog.Logger) *Link {
	ctx, cancel := context.WithCancel(context.Background())
	if log == nil {
		log = slog.Default()
	}
	l := &Link{
		client: client, key: prefix + "{nodes}", patience: patience, log: log, cancel: cancel,
		done: make(chan struct{}), wanted: make(chan struct{}, 1), away: time.Now(), why: errNoLook,
	}
	go l.run(ctx)
	return l
}

// Close ends the link. It does not close the client.
func (l *Link) Close() {
	l.cancel()
	<-l.done
}

// Away reports whether Redis did not answer the last look.
func (l *Link) Away() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.away.IsZero()
}

// Err returns an error when Redis has been away for longer than the patience.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away.IsZero() || time.Since(l.away) < l.patience {
		return nil
	}
	return fmt.Errorf("%w since %s: %w", ErrAway, l.away.UTC().Format(time.RFC3339), l.why)
}

// Look asks for a look at once. Whoever got an error from Redis calls it.
func (l *Link) Look() {
	select {
	case l.wanted <- struct{}{}:
	default:
	}
}

// OnLoss has f called each time when Redis may have lost what it answered in the last seconds, before the functions of OnBack. The link's
// goroutine calls it, with no lock held, in the order of OnLoss; it must not block.
func (l *Link) OnLoss(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onLoss = append(l.onLoss, f)
}

// OnBack has f called each time when Redis answers again, as OnLoss does.
func (l *Link) OnBack(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onBack = append(l.onBack, f)
}

// Losses returns how often Redis may have lost something.
func (l *Link) Losses() uint64 { return l.losses.Load() }

// Sure returns the time up to which no loss remains unseen: when the last look began that found the servers of before.
func (l *Link) Sure() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sure
}

// Now returns Redis' time.
func (l *Link) Now() time.Time { return time.Now().Add(time.Duration(l.offset.Load())) }

// Ahead returns by how many milliseconds Redis' clock is ahead of this node's.
func (l *Link) Ahead() int64 { return shifted(1, l.offset.Load()) - 1 }

// ToRedis returns a time in Unix milliseconds of this node's clock by that of Redis, which all nodes share; 0 stays 0.
func (l *Link) ToRedis(ms int64) int64 { return shifted(ms, l.offset.Load()) }

// FromRedis undoes ToRedis.
func (l *Link) FromRedis(ms int64) int64 { return shifted(ms, -l.offset.Load()) }

func shifted(ms, offset int64) int64 {
	if ms == 0 {
		return 0
	}
	return max(1, ms+offset/int64(time.Millisecond))
}

// run looks until the link ends.
func (l *Link) run(ctx context.Context) {
	defer close(l.done)
	for {
		l.look(ctx)
		pause := time.NewTimer(lookPause)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		wait := lookEvery - lookPause
		if l.Away() { // what Redis has lost is to be written again soon when it is back
			wait = lookPause
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-l.wanted:
			timer.Stop()
		}
	}
}

// look asks all servers who they are, and tells who has to know.
func (l *Link) look(ctx context.Context) {
	begin := time.Now()
	found, err := l.ask(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.away.IsZero() {
			l.away = begin
		}
		if l.why == nil || errors.Is(l.why, errNoLook) {
			l.log.Warn("redis does not answer", "err", err)
		}
		l.why = err
		return
	}
	loss := false
	for id := range found {
		loss = loss || l.primaries != nil && !l.primaries[id]
	}
	l.primaries = found
	l.mu.Lock()
	onLoss, onBack, wasAway, why := l.onLoss, l.onBack, l.away, l.why
	l.mu.Unlock()
	if loss {
		l.losses.Add(1)
		l.log.Warn("redis was restarted or failed over: what it answered lately is written again")
		for _, f := range onLoss {
			f()
		}
	}
	l.mu.Lock()
	l.away, l.why, l.sure = time.Time{}, nil, begin
	l.mu.Unlock()
	if wasAway.IsZero() {
		return
	}
	if !errors.Is(why, errNoLook) {
		l.log.Info("redis answers again", "away", time.Since(wasAway).Round(time.Millisecond))
	}
	for _, f := range onBack {
		f()
	}
}

var timeScript = rueidis.NewLuaScript(`return redis.call('TIME')`)

// ask returns the identities of the primaries, and sets the clock. An error says that not all keys can be reached.
func (l *Link) ask(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	begin := time.Now()
	now, err := timeScript.Exec(ctx, l.client, []string{l.key}, nil).AsIntSlice()
	if err != nil {
		return nil, err
	}
	if len(now) != 2 {
		return nil, fmt.Errorf("it says that its time is %d", now)
	}
	end := time.Now()
	l.offset.Store(int64(time.Unix(now[0], now[1]*1000).Sub(begin.Add(end.Sub(begin) / 2))))

	nodes := l.client.Nodes()
	inCluster := l.client.Mode() == rueidis.ClientModeCluster
	answers := make(chan answer, len(nodes))
	for _, n := range nodes {
		go func() { answers <- askOne(ctx, n, inCluster) }()
	}
	found := make(map[string]bool)
	var failed error
	for range nodes {
		a := <-answers
		failed = errors.Join(failed, a.err)
		if a.primary != "" {
			found[a.primary] = true
		}
	}
	if len(found) == 0 || failed != nil && len(found) < len(l.primaries) { // otherwise a replica is away, or a server that left
		return nil, errors.Join(errors.New("no primary has some of the keys"), failed)
	}
	return found, nil
}

// answer is what one server says of itself.
type answer struct {
	primary string // its identity, if it is a primary
	err     error
}

func askOne(ctx context.Context, n rueidis.Client, inCluster bool) answer {
	commands := rueidis.Commands{n.B().Info().Section("server").Build(), n.B().Info().Section("replication").Build()}
	if inCluster {
		commands = append(commands, n.B().ClusterInfo().Build())
	}
	fields := make(map[string]string)
	for _, r := range n.DoMulti(ctx, commands...) {
		text, err := r.ToString()
		if err != nil {
			return answer{err: err}
		}
		text = strings.TrimPrefix(text, "txt:") // RESP3's word for text
		for line := range strings.Lines(text) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				fields[key] = value
			}
		}
	}
	switch {
	case fields["role"] != "master":
		return answer{}
	case inCluster && fields["cluster_state"] != "ok":
		return answer{err: errors.New("the cluster is not complete")}
	default:
		return answer{primary: fields["run_id"] + "/" + fields["master_replid"]}
	}
}
