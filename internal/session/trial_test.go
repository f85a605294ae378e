package session

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// An MQTT client comes, goes, is taken over, has room or not, and answers late or not at all,
// while messages of every QoS come that expire or not. Its messages of a topic come in order,
// none comes after its time, none of QoS 2 comes twice, and each that does not come was counted.
func TestEveryMessageComesOrIsCounted(t *testing.T) { try(t, 300, newTrial) }

// try has 300 things happen in a trial of each seed, and looks at what came of it.
func try[T interface {
	step()
	finish()
	close()
}](t *testing.T, seeds uint64, begin func(*testing.T, uint64) T) {
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			g := begin(t, seed)
			defer g.close()
			for range 300 {
				g.step()
			}
			g.finish()
		})
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// trial is a world in which things happen to one client at random, one at a time.
type trial struct {
	*world
	random *rand.Rand
	client *trialClient // nil while it is away
	sent   []published
	first  map[string]int // the last number that came for the first time, by topic
	holds  map[uint16]int // QoS 2 messages that the client has and that are not released
}

// published is what was published; its number is its place.
type published struct {
	qos     message.QoS
	expiry  int64 // Unix milliseconds, 0 is never
	came    int   // how often
	outcome *outcome
}

// trialClient is one connection of the client.
type trialClient struct {
	*conn
	trial *trial
	owes  []func() // answers that it has not sent; those of older connections come too late
}

func newTrial(t *testing.T, seed uint64) *trial {
	return &trial{
		world:  newWorld(t, Config{InFlight: 3, MaxExpiry: 24 * time.Hour}, store.Limits{Count: 6, Age: time.Minute}),
		random: rand.New(rand.NewPCG(seed, 1)),
		first:  map[string]int{},
		holds:  map[uint16]int{},
	}
}

func (g *trial) step() {
	switch g.random.IntN(12) {
	case 0:
		g.connect()
	case 1:
		if g.client != nil {
			g.client.leave("cut")
			g.client = nil
		}
	case 2:
		if c := g.client; c != nil && g.random.IntN(3) == 0 {
			c.room = 0
			time.Sleep(11 * time.Second) // longer than a publisher waits
		}
		time.Sleep(time.Duration(g.random.IntN(3000)) * time.Millisecond) // the bubble's clock
	case 3:
		if g.client != nil {
			g.client.room = g.random.IntN(4) - 1
			g.client.link.Flush(true)
		}
	case 4, 5, 6, 7:
		g.publishOne()
	case 8:
		if g.client != nil {
			g.client.step()
		}
	default:
		g.answer()
	}
}

// connect is a takeover if the client is there.
func (g *trial) connect() {
	var late []func()
	if g.client != nil {
		late = g.client.owes
	}
	g.client = &trialClient{conn: &conn{world: g.world, room: -1}, trial: g, owes: late}
	stay := 24 * time.Hour
	g.client.attachAs("d", g.client, Options{Expiry: &stay})
	g.client.link.SubscribeEach([]topic.Subscription{
		{Filter: "a", QoS: 2},
		{Filter: "b", QoS: 2, ID: 7},
		{Filter: "c", QoS: 0, Conflate: true},
	}, make([]wire.Error, 3))
}

func (g *trial) publishOne() {
	if g.client == nil && len(g.sent) == 0 {
		return // nobody has subscribed
	}
	m := &message.Message{
		Topic:   string(rune('a' + g.random.IntN(3))),
		Payload: strconv.AppendInt(nil, int64(len(g.sent)), 10),
		QoS:     message.QoS(g.random.IntN(3)),
	}
	if g.random.IntN(3) == 0 {
		m.Expiry = time.Now().Add(time.Duration(1+g.random.IntN(5)) * time.Second).UnixMilli()
	}
	s := published{qos: m.QoS, expiry: m.Expiry, outcome: new(outcome)}
	if m.Topic == "c" {
		s.qos = 0
	}
	g.sent = append(g.sent, s)
	if got, err := g.router.Publish(m, s.outcome.set); !got.Later {
		s.outcome.set(err)
	}
}

// answer has the client send one of the answers that it owes, or forget it.
func (g *trial) answer() {
	if c := g.client; c != nil && len(c.owes) > 0 {
		i := g.random.IntN(len(c.owes))
		f := c.owes[i]
		c.owes = append(c.owes[:i], c.owes[i+1:]...)
		f()
	}
}

// came notes a message.
func (g *trial) came(m *message.Message) int {
	n, _ := strconv.Atoi(string(m.Payload))
	s := &g.sent[n]
	if s.came++; s.came > 1 {
		return n
	}
	if last, ok := g.first[m.Topic]; ok && n <= last {
		g.t.Errorf("%s: %d came after %d", m.Topic, n, last)
	}
	g.first[m.Topic] = n
	if m.Expired(time.Now()) {
		g.t.Errorf("%s: %d came when its time was over", m.Topic, n)
	}
	return n
}

func (c *trialClient) Send(m *message.Message, q message.QoS) bool {
	c.conn.room--
	if c.trial.came(m); q != message.AtMostOnce {
		c.world.t.Errorf("Send with QoS %d", q)
	}
	return true
}

func (c *trialClient) SendPacket(m *message.Message, q message.QoS, id uint16, _ bool) bool {
	c.conn.room--
	g := c.trial
	if q == message.AtLeastOnce {
		g.came(m)
		c.owes = append(c.owes, func() { _ = c.link.Acked(id) })
		return true
	}
	n, _ := strconv.Atoi(string(m.Payload))
	if held, ok := g.holds[id]; !ok {
		g.came(m)
		g.holds[id] = n
		if g.sent[n].came > 1 {
			g.t.Errorf("%d came twice", n)
		}
	} else if held != n {
		g.t.Errorf("%d is taken for %d", n, held)
	}
	c.owes = append(c.owes, func() {
		if found, _ := c.link.Received(id, false); found {
			c.Release(id)
		}
	})
	return true
}

func (c *trialClient) Release(id uint16) {
	delete(c.trial.holds, id)
	c.owes = append(c.owes, func() { _ = c.link.Completed(id) })
}

func (c *trialClient) Wake() { c.post(func() { c.link.Flush(true) }) }

// finish lets all come, and counts.
func (g *trial) finish() {
	g.connect()
	for busy := true; busy; {
		g.client.room = -1
		g.client.link.Flush(true)
		for g.client.step() {
		}
		busy = len(g.client.owes) > 0
		g.answer()
	}
	missing, lied := 0, 0
	for n := range g.sent {
		s := &g.sent[n]
		told := s.outcome.String()
		if told != "taken" && told != router.ErrTooLate.Error() {
			g.t.Errorf("the publisher of %d: %s", n, told)
		}
		if s.came > 0 {
			continue
		}
		missing++
		if told == "taken" && s.qos > 0 && s.expiry == 0 {
			lied++
		}
	}
	drops := g.drops()
	all := 0
	for _, n := range drops {
		all += int(n)
	}
	info := g.info("d")
	if all < missing || lied > int(drops["queue_overflow"]+drops["expired"]) {
		g.t.Errorf("%d did not come, of them %d that were taken for good: %v", missing, lied, drops)
	}
	expect(g.t, "left", fmt.Sprint(info.Queued, info.InFlight, info.Waiting), "0 0 0")
	if q := g.client.link.session.queue; q != nil {
		expect(g.t, "identifiers in use", q.Open(), 0)
	}
}
