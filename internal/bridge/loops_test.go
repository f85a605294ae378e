package bridge

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
)

// A network of gateways and brokers, in memory: what is published anywhere goes along all sinks and sources until nothing moves.
type network struct {
	t        *testing.T
	gateways []*gatewayNode
	brokers  []*brokerNode
	moving   []func()
	now      time.Time
	steps    int
}

type gatewayNode struct {
	loops *Loops
	sinks []link
	got   map[string]int // by payload
}

type brokerNode struct {
	name    string
	sources []link
	bridges []*brokerNode // brokers that it bridges to by itself, without properties
	got     map[string]int
}

// link is a sink or a source: of a gateway, at a broker.
type link struct {
	gateway *gatewayNode
	broker  *brokerNode
	hop     string
	five    bool
}

func newNetwork(t *testing.T, gateways, brokers int) *network {
	n := &network{t: t, now: time.Now()}
	for i := range gateways {
		g := &gatewayNode{loops: NewLoops(fmt.Sprintf("gateway%d", i)), got: make(map[string]int)}
		g.loops.now = func() time.Time { return n.now }
		n.gateways = append(n.gateways, g)
	}
	for i := range brokers {
		n.brokers = append(n.brokers, &brokerNode{name: fmt.Sprintf("broker%d", i), got: make(map[string]int)})
	}
	return n
}

// connect makes a sink and a source of a gateway at a broker. named says that all gateways call the broker by one name.
func (n *network) connect(g *gatewayNode, b *brokerNode, sink, source, five, named bool) {
	hop := b.name
	if !named {
		hop = g.loops.ID() + "/" + b.name
	}
	l := link{g, b, hop, five}
	if sink {
		g.sinks = append(g.sinks, l)
	}
	if source {
		b.sources = append(b.sources, l)
		g.loops.Subscribe(&Subscribed{Broker: hop, Hops: five, Filters: []string{"#"}})
	}
}

// String lists the links.
func (n *network) String() string {
	var b strings.Builder
	for _, g := range n.gateways {
		for _, l := range g.sinks {
			fmt.Fprintf(&b, "\n%s -> %s five=%t", g.loops.ID(), l.hop, l.five)
		}
	}
	for _, broker := range n.brokers {
		for _, l := range broker.sources {
			fmt.Fprintf(&b, "\n%s -> %s five=%t", l.hop, l.gateway.loops.ID(), l.five)
		}
	}
	return b.String()
}

// run lets everything move until it rests.
func (n *network) run() {
	const most = 100_000
	for len(n.moving) > 0 {
		next := n.moving[0]
		n.moving = n.moving[1:]
		n.now = n.now.Add(time.Millisecond)
		next()
		if n.steps++; n.steps > most {
			n.t.Fatalf("messages go round in %s", n)
		}
	}
}

func (n *network) atGateway(g *gatewayNode, topic, payload string, properties []message.Property) {
	g.got[payload]++
	for _, l := range g.sinks {
		hops, ok, err := g.loops.Leave(properties, l.hop)
		if err != nil || !ok {
			continue
		}
		g.loops.Send(Sending{
			Broker: l.hop, Remote: topic, Local: topic, Payload: []byte(payload), Hops: l.five, Passing: HopsOf(properties) != "", Remember: 10 * time.Second,
		})
		var sent []message.Property
		if l.five {
			sent = []message.Property{{Key: HopsProperty, Value: hops}}
		}
		n.moving = append(n.moving, func() { n.atBroker(l.broker, nil, topic, payload, sent) })
	}
}

func (n *network) atBroker(b, from *brokerNode, topic, payload string, properties []message.Property) {
	b.got[payload]++
	for _, other := range b.bridges {
		if other != from {
			n.moving = append(n.moving, func() { n.atBroker(other, b, topic, payload, nil) })
		}
	}
	for _, l := range b.sources {
		arrives := properties
		if !l.five {
			arrives = nil
		}
		n.moving = append(n.moving, func() {
			properties, ok, err := l.gateway.loops.Arrive(Arrival{
				Broker: l.hop, Remote: topic, Local: topic, Payload: []byte(payload), Properties: arrives, Hops: l.five,
			})
			if err == nil && ok {
				n.atGateway(l.gateway, topic, payload, properties)
			}
		})
	}
}

// want checks how often a payload came to all gateways and brokers.
func (n *network) want(payload string, least, most int) {
	n.t.Helper()
	check := func(name string, times int) {
		n.t.Helper()
		if times < least || times > most {
			n.t.Errorf("%s got %s %d times", name, payload, times)
		}
	}
	for _, g := range n.gateways {
		check(g.loops.ID(), g.got[payload])
	}
	for _, b := range n.brokers {
		check(b.name, b.got[payload])
	}
}

// everywhere publishes one message at each gateway and broker.
func (n *network) everywhere(check func(payload string)) {
	for i, g := range n.gateways {
		payload := fmt.Sprintf("from gateway%d", i)
		n.moving = append(n.moving, func() { n.atGateway(g, "t/1", payload, nil) })
		n.run()
		check(payload)
	}
	for i, b := range n.brokers {
		payload := fmt.Sprintf("from broker%d", i)
		n.moving = append(n.moving, func() { n.atBroker(b, nil, "t/1", payload, nil) })
		n.run()
		check(payload)
	}
}

func each(test func(five, named bool)) {
	for _, five := range []bool{true, false} {
		for _, named := range []bool{true, false} {
			test(five, named)
		}
	}
}

// Two gateways at one broker, both ways: everybody gets each message once.
func TestStar(t *testing.T) {
	each(func(five, named bool) {
		t.Run(fmt.Sprintf("five=%t named=%t", five, named), func(t *testing.T) {
			n := newNetwork(t, 2, 1)
			for _, g := range n.gateways {
				n.connect(g, n.brokers[0], true, true, five, named)
			}
			n.everywhere(func(payload string) { n.want(payload, 1, 1) })
		})
	})
}

// A chain of brokers and gateways, both ways: everybody gets each message once.
func TestChain(t *testing.T) {
	each(func(five, named bool) {
		t.Run(fmt.Sprintf("five=%t named=%t", five, named), func(t *testing.T) {
			n := newNetwork(t, 3, 4)
			for i, g := range n.gateways {
				n.connect(g, n.brokers[i], true, true, five, named)
				n.connect(g, n.brokers[i+1], true, true, five, named)
			}
			n.everywhere(func(payload string) { n.want(payload, 1, 1) })
		})
	})
}

// A circle, one way round and both ways round: everybody gets each message, and it ends.
func TestCircle(t *testing.T) {
	each(func(five, named bool) {
		for _, both := range []bool{false, true} {
			t.Run(fmt.Sprintf("five=%t named=%t both=%t", five, named, both), func(t *testing.T) {
				n := newNetwork(t, 3, 3)
				for i, g := range n.gateways {
					n.connect(g, n.brokers[i], both, true, five, named)
					n.connect(g, n.brokers[(i+1)%3], true, both, five, named)
				}
				most := 2
				if both {
					most = 4
				}
				n.everywhere(func(payload string) { n.want(payload, 1, most) })
			})
		}
	})
}

// A circle that is closed by a broker's own bridge, which strips properties. In 5 the gateway has nothing to know the message by, unless a link is of 3.1.1.
func TestCircleWithForeignBridge(t *testing.T) {
	n := newNetwork(t, 1, 2)
	n.connect(n.gateways[0], n.brokers[0], true, false, false, true)
	n.connect(n.gateways[0], n.brokers[1], false, true, false, true)
	n.brokers[0].bridges = []*brokerNode{n.brokers[1]}
	n.everywhere(func(payload string) {
		if strings.HasPrefix(payload, "from broker1") || strings.HasPrefix(payload, "from gateway") {
			n.want(payload, 1, 2)
		}
	})
}

// Any network of links of both versions comes to rest, and whoever can be reached gets each message.
func TestNetworks(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's
		n := newNetwork(t, 1+random.IntN(4), 1+random.IntN(4))
		for _, g := range n.gateways {
			for _, b := range n.brokers {
				if random.IntN(2) == 0 {
					n.connect(g, b, random.IntN(3) > 0, random.IntN(3) > 0, random.IntN(2) == 0, random.IntN(2) == 0)
				}
			}
		}
		n.everywhere(func(payload string) { n.reached(payload) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// reached checks that whoever is behind a link of somebody who got the payload got it as well.
func (n *network) reached(payload string) {
	n.t.Helper()
	for _, g := range n.gateways {
		for _, l := range g.sinks {
			if g.got[payload] > 0 && l.broker.got[payload] == 0 {
				n.t.Errorf("%s got %s, and %s, to which it sends, did not", g.loops.ID(), payload, l.broker.name)
			}
		}
	}
	for _, b := range n.brokers {
		for _, l := range b.sources {
			if b.got[payload] > 0 && l.gateway.got[payload] == 0 {
				n.t.Errorf("%s got %s, and %s, which listens there, did not", b.name, payload, l.gateway.loops.ID())
			}
		}
	}
}

// In 3.1.1 what comes back is known once for each time that it was sent; the same from somebody else is not dropped with it.
func TestEchoes(t *testing.T) {
	l, now := NewLoops("here"), time.Now()
	l.now = func() time.Time { return now }
	l.Subscribe(&Subscribed{Broker: "there", Filters: []string{"up/#"}})
	arrives := func(broker, remote, payload string) bool {
		_, ok, err := l.Arrive(Arrival{Broker: broker, Remote: remote, Local: "local", Payload: []byte(payload)})
		return ok && err == nil
	}
	send := func(remote, payload string) Sent {
		return l.Send(Sending{Broker: "there", Remote: remote, Local: "local", Payload: []byte(payload), Remember: 10 * time.Second})
	}
	send("up/1", "on")
	send("up/1", "on")
	for range 2 {
		if arrives("there", "up/1", "on") {
			t.Error("an echo arrives")
		}
	}
	if !arrives("there", "up/1", "on") {
		t.Error("what somebody else published is taken for an echo")
	}
	l.Unsent(send("up/1", "off"))
	if !arrives("there", "up/1", "off") {
		t.Error("what was not acknowledged is taken for an echo")
	}
	send("elsewhere", "on") // no source has subscribed to it
	if !arrives("there", "elsewhere", "on") {
		t.Error("what cannot come back is taken for an echo")
	}
	if arrives("other", "x", "on") {
		t.Error("what comes round by another broker arrives")
	}
	now = now.Add(11 * time.Second)
	if !arrives("other", "x", "on") {
		t.Error("it is remembered for longer than it was to be")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var m memory
	now := time.Now()
	for i := range uint64(5 * mostMemos) {
		m.add(i+1, memo{ends: now.Add(time.Hour)}, now)
	}
	if n := len(m.young) + len(m.old); n > 2*mostMemos {
		t.Errorf("%d", n)
	}
	if !m.take(5*mostMemos, now) || m.take(5*mostMemos, now) || m.take(1, now) {
		t.Error("it has the oldest and not the newest")
	}
}

func TestHops(t *testing.T) {
	l := NewLoops("here")
	of := func(hops ...string) []message.Property {
		return []message.Property{{Key: "a", Value: "b"}, {Key: HopsProperty, Value: strings.Join(hops, ",")}}
	}
	for _, test := range []struct {
		hops []message.Property
		want string
	}{
		{nil, "here"},
		{of("there", "x"), "there,x,here"},
		{of("hereabout"), "hereabout,here"},
		{of("x", "here"), ""},
		{of("broker"), ""},
	} {
		if hops, ok, err := l.Leave(test.hops, "broker"); hops != test.want || ok != (test.want != "") || err != nil {
			t.Errorf("%v: %q, %t, %v", test.hops, hops, ok, err)
		}
	}
	far := of(strings.Split(strings.Repeat("x", mostHops), "")...)
	if _, _, err := l.Leave(far, "broker"); !errors.Is(err, ErrFar) {
		t.Error(err)
	}
	if _, _, err := l.Leave(of(strings.Repeat("x", 10_000)), "broker"); !errors.Is(err, ErrFar) {
		t.Error(err)
	}
	properties, ok, err := l.Arrive(Arrival{Broker: "broker", Properties: of("x"), Hops: true})
	if !ok || err != nil || HopsOf(properties) != "x,broker" || len(properties) != 2 || properties[0].Value != "b" {
		t.Errorf("%v, %t, %v", properties, ok, err)
	}
	if _, ok, _ = l.Arrive(Arrival{Broker: "broker", Properties: of("x", "here", "y"), Hops: true}); ok {
		t.Error("what has left this gateway arrives")
	}
}
