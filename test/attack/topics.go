package main

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// perPacket is how many filters a SUBSCRIBE may have here, sessions.max_filters.
const perPacket = 64

// subscriptionFlood subscribes to more filters than it may, and to others in their place, without
// end.
func subscriptionFlood(c *crew, member int) error {
	var all []byte
	for round := range 8 {
		on := &mqtt.Packet{Type: mqtt.Subscribe, ID: 1}
		off := &mqtt.Packet{Type: mqtt.Unsubscribe, ID: 2}
		for i := range perPacket {
			filter := topicOf(member, fmt.Sprintf("%d/%d/+/#", round, i))
			on.Subscriptions = append(on.Subscriptions, mqtt.Subscription{Filter: filter})
			if round%2 == 0 {
				off.Filters = append(off.Filters, filter)
			}
		}
		all = append(all, encode(on)...)
		if len(off.Filters) > 0 {
			all = append(all, encode(off)...)
		}
	}
	return c.speak(member, func(conn net.Conn) error { return floodAndRead(conn, all) })
}

// deep is how many levels a topic may have below a device's own two, sessions.topics.depth.
const deep = 14

// topicTree subscribes to filters that branch at every level, as deep as allowed, and
// publishes to a topic that matches all of them.
func topicTree(c *crew, member int) error {
	sub := &mqtt.Packet{Type: mqtt.Subscribe, ID: 1}
	for i := range perPacket {
		sub.Subscriptions = append(sub.Subscriptions, mqtt.Subscription{Filter: topicOf(member, branching(i))})
	}
	pub := repeat(encode(publication(topicOf(member, levels("a", deep)), nil)), 20)
	return c.speak(member, func(conn net.Conn) error {
		if err := send(conn, sub); err != nil {
			return err
		}
		return floodAndRead(conn, pub)
	})
}

// branching returns a filter whose last levels are + where n has a bit, and a where it has none.
func branching(n int) string {
	all := strings.Split(levels("a", deep), "/")
	for i := range all {
		if n>>(i%6)&1 != 0 {
			all[i] = "+"
		}
	}
	return strings.Join(all, "/")
}

// oversizeTopics publishes to a topic of thousands of levels.
func oversizeTopics(c *crew, member int) error {
	pub := encode(publication(topicOf(member, levels("a", 30_000)), nil))
	return c.speak(member, func(conn net.Conn) error { return provoke(conn, pub) })
}

// distinctTopics publishes to a topic that nobody has used, every time.
func distinctTopics(c *crew, member int) error {
	return c.speak(member, func(conn net.Conn) error {
		go func() { _ = await(conn) }()
		return publishEver(conn, member, func(p *mqtt.Packet) { p.QoS = message.AtMostOnce })
	})
}

// retained retains a message on every topic that it may use.
func retained(c *crew, member int) error {
	body := make([]byte, 1000)
	return c.speak(member, func(conn net.Conn) error {
		go func() { _ = await(conn) }()
		return publishEver(conn, member, func(p *mqtt.Packet) { p.Retain, p.Payload = true, body })
	})
}

// retainedSearch subscribes to all retained messages, as often in each packet as filters fit.
func retainedSearch(c *crew, member int) error {
	sub := subscription(member, "#")
	sub.Subscriptions = slices.Repeat(sub.Subscriptions, perPacket)
	all := repeat(encode(sub), 20)
	return c.speak(member, func(conn net.Conn) error {
		for i := range 10 {
			p := publication(topicOf(member, fmt.Sprint("kept/", i)), []byte("x"))
			p.Retain = true
			if err := send(conn, p); err != nil {
				return err
			}
		}
		return floodAndRead(conn, all)
	})
}

// publishEver publishes to ever new topics, a hundred messages per write.
func publishEver(conn net.Conn, member int, form func(*mqtt.Packet)) error {
	for n := 0; ; {
		var b []byte
		for range 100 {
			p := publication(topicOf(member, fmt.Sprintf("%x/%d", time.Now().UnixMilli(), n)), nil)
			form(p)
			b = append(b, encode(p)...)
			n++
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
}

// fullQueues publishes to itself, and neither reads nor acknowledges.
func fullQueues(c *crew, member int) error {
	sub := subscription(member, "#")
	sub.Subscriptions[0].QoS = message.AtLeastOnce
	body := make([]byte, 1000)
	return c.speak(member, func(conn net.Conn) error {
		if err := send(conn, sub); err != nil {
			return err
		}
		for id := uint16(1); id <= 32; id++ { // as many as may be in flight
			p := publication(topicOf(member, "up"), body)
			p.QoS, p.ID = message.AtLeastOnce, id
			if err := send(conn, p); err != nil {
				return err
			}
		}
		return flood(conn, repeat(encode(publication(topicOf(member, "up"), body)), 50))
	})
}

// neverAcks publishes to itself, reads the messages, and acknowledges none.
func neverAcks(c *crew, member int) error {
	sub := subscription(member, "#")
	sub.Subscriptions[0].QoS = message.AtLeastOnce
	return c.speak(member, func(conn net.Conn) error {
		if err := send(conn, sub); err != nil {
			return err
		}
		for id := uint16(1); id <= 90; id++ { // more than its queue holds
			p := publication(topicOf(member, "up"), []byte("x"))
			p.QoS, p.ID = message.AtLeastOnce, id
			if err := send(conn, p); err != nil {
				return err
			}
		}
		return await(conn)
	})
}

// wills disconnects without a DISCONNECT, so that the gateway publishes a large will, for every other device after a delay.
func wills(c *crew, member int) error {
	p := c.lastWord(member)
	if member%2 == 0 {
		p.Connect.Will.Properties.WillDelay, p.Properties.SessionExpiry = 3, 3
	}
	conn, err := c.join(member, p)
	if err != nil {
		return err
	}
	return reset(conn, conn.Conn, nil)
}

const wave = 3 * time.Second // time between two waves

// willWaves disconnects at the same time as all others, so that the gateway publishes all their large wills.
func willWaves(c *crew, member int) error {
	conn, err := c.join(member, c.lastWord(member))
	if err != nil {
		return err
	}
	time.Sleep(time.Until(time.Now().Truncate(wave).Add(wave))) // the attack itself
	return reset(conn, conn.Conn, nil)
}

// lastWord returns the CONNECT of a stolen device with a large will.
func (c *crew) lastWord(member int) *mqtt.Packet {
	p := c.stolen(member)
	p.Connect.HasWill = true
	p.Connect.Will = mqtt.Will{Topic: topicOf(member, "will"), Payload: make([]byte, 7<<10)}
	return p
}
