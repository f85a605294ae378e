package session

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire"
)

// An MQTT client publishes to one that often has no room, is cut off or connects again, and sends
// again what was not answered, at times on the same connection. In the end all is answered; what
// was answered well has come, and what has QoS 2 only once.
func TestEveryPublicationIsAnswered(t *testing.T) { try(t, 200, newUplinkTrial) }

// uplinkTrial is a client that publishes at random, one thing at a time.
type uplinkTrial struct {
	*world
	random     *rand.Rand
	patient    bool
	subscriber *conn
	client     *publisher
	open       []*upward        // not answered for good, in the order in which they were first sent
	ids        map[int][]uint64 // of the messages that came, by number
	answered   []*upward        // well
	n          int
}

// upward is a publication under way.
type upward struct {
	n        int
	id       uint16
	qos      message.QoS
	released bool // PUBREC came
}

// publisher is one connection of the client.
type publisher struct {
	*client
	trial *uplinkTrial
}

func newUplinkTrial(t *testing.T, seed uint64) *uplinkTrial {
	g := &uplinkTrial{
		world:   newWorld(t, Config{Unanswered: 4}, store.Limits{Count: 2}),
		random:  rand.New(rand.NewPCG(seed, 2)),
		patient: seed%2 == 0,
		ids:     map[int][]uint64{},
	}
	g.subscriber = &conn{world: g.world, room: -1}
	g.subscriber.attachAs("subscriber", &taker{g.subscriber, g}, Options{})
	g.subscriber.sub(1, 1, "a")
	g.connect()
	return g
}

func (g *uplinkTrial) connect() {
	g.client = &publisher{&client{&conn{world: g.world, room: -1}}, g}
	g.client.attachAs("d", g.client, Options{NoRefusals: g.patient})
	for _, u := range slices.Clone(g.open) {
		g.send(u, true)
	}
}

func (g *uplinkTrial) send(u *upward, again bool) {
	if u.released {
		g.release(u)
		return
	}
	p := &wire.Packet{Op: wire.Pub, ID: uint64(u.id), Again: again}
	p.Message.Topic, p.Message.QoS, p.Message.Payload = "a", u.qos, strconv.AppendInt(nil, int64(u.n), 10)
	g.client.handle(p)
}

func (g *uplinkTrial) release(u *upward) {
	g.client.link.Released(u.id)
	g.over(u)
}

func (g *uplinkTrial) over(u *upward) {
	g.open = slices.DeleteFunc(g.open, func(x *upward) bool { return x == u })
}

// Answer is PUBACK or PUBREC.
func (p *publisher) Answer(a *wire.Packet) {
	g := p.trial
	if g.client != p {
		return // it does not arrive
	}
	i := slices.IndexFunc(g.open, func(u *upward) bool { return u.id == uint16(a.ID) && !u.released })
	if i < 0 { // answered before
		p.post(func() { p.link.Released(uint16(a.ID)) })
		return
	}
	u := g.open[i]
	switch {
	case a.Err.Code != "":
		g.over(u)
	case a.QoS != u.qos:
		g.t.Errorf("%d of QoS %d is answered with QoS %d", u.n, u.qos, a.QoS)
	case a.QoS == message.ExactlyOnce:
		u.released = true
	default:
		g.over(u)
	}
	if a.Err.Code == "" {
		g.answered = append(g.answered, u)
	}
}

// taker is the subscriber's connection.
type taker struct {
	*conn
	trial *uplinkTrial
}

func (c *taker) Send(m *message.Message, q message.QoS) bool {
	n, _ := strconv.Atoi(string(m.Payload))
	if ids := c.trial.ids[n]; !slices.Contains(ids, m.ID) {
		c.trial.ids[n] = append(ids, m.ID)
	}
	return c.conn.Send(m, q)
}

func (g *uplinkTrial) step() {
	switch g.random.IntN(10) {
	case 0:
		g.connect()
	case 1:
		g.client.leave("cut")
		g.connect()
	case 2:
		time.Sleep(time.Duration(g.random.IntN(4)) * time.Second) // the bubble's clock
	case 3:
		if len(g.open) > 0 && g.patient { // MQTT 5 does not allow it [MQTT-4.4.0-1]
			g.send(g.open[g.random.IntN(len(g.open))], true)
		}
	case 4, 5:
		g.client.step()
	case 6:
		g.subscriber.step()
	case 7:
		if len(g.subscriber.owed) > 0 {
			g.subscriber.ack(0)
		}
	default:
		g.publishNew()
	}
}

func (g *uplinkTrial) publishNew() {
	if len(g.open) == 4 {
		return
	}
	g.n++
	u := &upward{n: g.n, id: uint16(g.n), qos: message.QoS(1 + g.random.IntN(2))}
	g.open = append(g.open, u)
	g.send(u, false)
}

func (g *uplinkTrial) finish() {
	for range 1000 {
		synctest.Wait() // for those who tell that it was too late
		for g.subscriber.step() {
		}
		for len(g.subscriber.owed) > 0 {
			g.subscriber.ack(0)
		}
		for g.client.step() {
		}
		for _, u := range slices.Clone(g.open) {
			if u.released {
				g.release(u)
			}
		}
		if len(g.open) == 0 {
			break
		}
	}
	for _, u := range g.answered {
		if times := len(g.ids[u.n]); times == 0 || times > 1 && u.qos == message.ExactlyOnce {
			g.t.Errorf("%d was answered with QoS %d and came %d times", u.n, u.qos, times)
		}
	}
	expect(g.t, "not answered", len(g.open), 0)
	if l := &g.client.link; l.answers != nil {
		g.t.Errorf("answers wait: %+v", l.answers)
	}
}
