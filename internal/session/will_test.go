package session

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
)

func will(delay time.Duration) *store.Will {
	m := &message.Message{Topic: "will", Payload: []byte("gone"), QoS: 1, Retain: true}
	return &store.Will{Message: m.Clone(), Delay: delay}
}

// Each case is what happens to a connection with a will, and after how long the will is
// published; never is negative.
func TestWill(t *testing.T) {
	const never = -time.Second
	minute := time.Minute
	reset := func(c *client) { c.leave("reset") }
	for name, c := range map[string]struct {
		expiry time.Duration
		delay  time.Duration
		then   func(*client)
		after  time.Duration
	}{
		"cut":              {minute, 0, reset, 0},
		"delay":            {minute, 10 * time.Second, reset, 10 * time.Second},
		"session shorter":  {minute, time.Hour, reset, minute},
		"no session":       {0, time.Hour, reset, 0},
		"good-bye":         {minute, 0, func(c *client) { c.link.ForgetWill(); c.leave("normal") }, never},
		"taken over":       {minute, 0, func(c *client) { c.world.client("d", Options{}) }, 0},
		"taken over, late": {minute, time.Second, func(c *client) { c.world.client("d", Options{}) }, never},
		"clean start":      {minute, time.Hour, func(c *client) { c.world.client("d", Options{Clean: true}) }, 0},
		"expiry raised": {minute, time.Hour, func(c *client) {
			expect(c.world.t, "raised", c.link.SetExpiry(2*minute), true)
			expect(c.world.t, "expiry", c.link.Expiry(), 2*minute)
			c.leave("reset")
		}, 2 * minute},
		"expiry ended": {minute, time.Hour, func(c *client) { c.link.SetExpiry(0); c.leave("normal") }, 0},
		"expiry of none": {0, time.Hour, func(c *client) {
			expect(c.world.t, "raised", c.link.SetExpiry(minute), false)
			c.leave("reset")
		}, 0},
		"resumed": {minute, 10 * time.Second, func(c *client) {
			c.leave("reset")
			time.Sleep(9 * time.Second)
			c.world.client("d", Options{})
		}, never},
		"cleaned while away": {minute, 10 * time.Second, func(c *client) {
			c.leave("reset")
			time.Sleep(5 * time.Second)
			c.world.connect("d", Options{Clean: true})
		}, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Config{})
				defer w.manager.Close()
				begin, at := time.Now(), never
				w.router.Subscribe("will", deliverTo(func(m *message.Message) {
					if at != never || m.Source != "d" || string(m.Payload) != "gone" || m.Time != time.Now().UnixMilli() {
						t.Errorf("%+v after %v", m, at)
					}
					at = time.Since(begin)
				}), 1)
				c.then(w.client("d", Options{Expiry: &c.expiry, Will: will(c.delay)}))
				time.Sleep(30 * time.Minute)
				synctest.Wait()
				expect(t, "published after", at, c.after)
			})
		})
	}
}

// A delayed will does not end the session, and is published once.
func TestSessionOutlivesItsWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Config{Expiry: time.Hour})
		defer w.manager.Close()
		up := w.observe("will")
		c := w.client("d", Options{Will: will(time.Minute)})
		c.leave("reset")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		up.saw(t, "will=gone qos 1")
		expect(t, "wills", w.manager.Wills(), uint64(1))
		if c.link.session.mqtt != nil {
			t.Error("the session keeps what only its will needed")
		}
		w.client("d", Options{}).saw(resumed)
		later := w.client("later", Options{})
		later.subscribe(filter("will", 0))
		later.saw(fresh, "will=gone qos 0 retain")
	})
}

func TestWillSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDurableWorld(t, Config{})
		w.client("d", Options{Will: will(time.Minute)}).leave("reset")
		w = w.restarted(Config{})
		defer w.manager.Close()
		up := w.observe("will")
		time.Sleep(time.Minute)
		synctest.Wait()
		up.saw(t, "will=gone qos 1")
	})
}

func TestWillRefused(t *testing.T) {
	w := newWorld(t, Config{})
	reserved, bad := will(0), will(0)
	reserved.Message.Topic, bad.Message.Topic = "$presence/victim", "a/+"
	for _, o := range []Options{{Will: will(0), Permissions: only("a/")}, {Will: reserved}} {
		c := &client{&conn{world: w}}
		if _, _, err := w.manager.attachNow("d", &c.link, c, o); !errors.Is(err, ErrWillNotAllowed) {
			t.Errorf("a will on %s: %v", o.Will.Message.Topic, err)
		}
	}
	expect(t, "drops", w.drops()["not_allowed"], 2)
	c := &client{&conn{world: w}}
	_, _, err := w.manager.attachNow("d", &c.link, c, Options{Will: bad})
	if e := (*topic.Error)(nil); !errors.As(err, &e) {
		t.Error(err)
	}
	if n, _ := w.manager.Count(); n != 0 {
		t.Errorf("%d sessions were made", n)
	}
}

// A session that ends with its connection is not resumed by a takeover.
func TestEphemeralSession(t *testing.T) {
	w := newWorld(t, Config{})
	zero := time.Duration(0)
	c := w.client("d", Options{Expiry: &zero})
	c.subscribe(filter("a", 1))
	w.client("d", Options{Expiry: &zero}).saw(fresh)
	c.saw(fresh, "close taken_over")
	expect(t, "routes", w.router.Stats().Subscriptions, 0)
}
