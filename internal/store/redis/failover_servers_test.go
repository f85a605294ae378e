//go:build servers

package redis

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/test/servers"
)

// fault is a way in which Redis loses what it has answered: begin comes before that, strike behind it.
type fault struct {
	options rueidis.ClientOption
	begin   func() error
	strike  func() error
}

// faults are restarts without what was written last, and a failover to a replica that never had it.
func faults() map[string]func(t *testing.T) fault {
	restart := func(all ...*servers.Server) fault {
		var forgets []func() error
		return fault{
			options: at(all[0].Address()),
			begin: func() error {
				forgets = nil
				for _, s := range all {
					forget, err := servers.RedisMark(s.Process)
					if err != nil {
						return err
					}
					forgets = append(forgets, forget)
				}
				return nil
			},
			strike: func() error {
				for i, s := range all {
					s.Kill()
					if err := forgets[i](); err != nil {
						return err
					}
				}
				for _, s := range all {
					s.Restart()
				}
				return nil
			},
		}
	}
	return map[string]func(t *testing.T) fault{
		"redis":   func(t *testing.T) fault { return restart(servers.Redis(t)) },
		"valkey":  func(t *testing.T) fault { return restart(servers.Valkey(t)) },
		"cluster": func(t *testing.T) fault { return restart(servers.RedisCluster(t)...) },
		"sentinel": func(t *testing.T) fault {
			s := servers.RedisSentinel(t)
			return fault{
				options: sentinelAt(s),
				begin:   func() error { return s.Part(t.Context()) },
				strike:  func() error { return s.FailOver(t.Context()) },
			}
		},
	}
}

// What is retained and told safe is there when Redis has lost it, also if the node that wrote it has ended since.
func TestRetainedOutliveLosses(t *testing.T) {
	for name, start := range faults() {
		t.Run(name, func(t *testing.T) {
			f, prefix := start(t), newPrefix()
			a, b := newKeeper(t, f.options, prefix, "a/1"), newKeeper(t, f.options, prefix, "b/1")
			ending := newKeeper(t, f.options, prefix, "ending/1")
			large := strings.Repeat("large ", 1000)
			a.must("gone", "old")
			a.must("kept", "old")
			expectAll("kept", "old", a, b)
			if err := f.begin(); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"gone": "", "kept": "new", "large": large, "ended": "told", "t0": "b last"}
			a.must("gone", "")
			a.must("kept", "new")
			a.must("large", large)
			a.must("t0", "a first")
			b.must("t0", "b last")
			ending.must("ended", "told")
			for topic, payload := range want {
				expectAll(topic, payload, a, b)
			}
			ending.log.close()
			if err := f.strike(); err != nil {
				t.Fatal(err)
			}
			servers.Until(t, "the loss is not seen", func() bool { return a.link.Losses() > 0 && b.link.Losses() > 0 })
			late := newKeeper(t, f.options, prefix, "late/1")
			<-late.log.ready
			for topic, payload := range want {
				expectAll(topic, payload, a, b, late)
			}
			for i, k := range []*keeper{a, b, late} { // and the log goes on
				k.must("next", fmt.Sprint(i))
				expectAll("next", fmt.Sprint(i), a, b, late)
			}
		})
	}
}

// While Redis is away nothing is told safe, but it is written when Redis is back.
func TestRetainedWaitForRedis(t *testing.T) {
	server := servers.Redis(t)
	a := newKeeper(t, at(server.Address()), newPrefix(), "a/1")
	a.must("t", "1")
	server.Kill()
	if err := a.try("t", "2"); !errors.Is(err, ErrAway) {
		t.Errorf("told %v", err)
	}
	if err := a.log.err(); !errors.Is(err, ErrAway) {
		t.Errorf("the error is %v", err)
	}
	servers.Until(t, "the link does not see it", func() bool { return a.link.Away() && a.link.Err() != nil })
	server.Restart()
	servers.Until(t, "nothing can be written", func() bool { return a.try("u", "1") == nil })
	late := newKeeper(t, at(server.Address()), strings.TrimSuffix(a.log.keys[allKey], "{retained}:all"), "late/1")
	expectAll("t", "2", a, late)
	if err := a.log.err(); err != nil {
		t.Errorf("the error stays: %v", err)
	}
}

// A link tells once of a restart, and that Redis is back, but not of an outage without a restart.
func TestLinkSeesRestarts(t *testing.T) {
	server := servers.Redis(t)
	l := newLink(t, at(server.Address()), newPrefix())
	servers.Until(t, "Redis is away", func() bool { return !l.Away() })
	var losses, backs atomic.Int64
	l.OnLoss(func() { losses.Add(1) })
	l.OnBack(func() {
		if l.Away() {
			t.Error("it is away when it is back")
		}
		backs.Add(1)
	})
	server.Stop()
	servers.Until(t, "it answers although it was stopped", l.Away)
	server.Continue()
	servers.Until(t, "it is not back", func() bool { return backs.Load() == 1 })
	if losses.Load() != 0 {
		t.Error("a pause is taken for a restart")
	}
	server.Kill()
	server.Restart()
	servers.Until(t, "the restart is not seen", func() bool { return losses.Load() == 1 })
	before := l.Sure()
	servers.Until(t, "it does not look again", func() bool { return l.Sure().After(before.Add(lookEvery)) })
	if losses.Load() != 1 || l.Losses() != 1 {
		t.Errorf("%d losses are told", losses.Load())
	}
	now := time.Now().UnixMilli()
	if d := l.FromRedis(l.ToRedis(now)) - now; d < -1 || d > 1 || l.ToRedis(0) != 0 {
		t.Errorf("a time comes back %d ms later", d)
	}
}
