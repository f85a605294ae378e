package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/longline/longline/internal/bridge"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/wire/mqtt"
)

// client returns a broker for clients that come back soon.
func client(url string) (*bridge.Broker, error) {
	return bridge.Open(bridge.Config{URL: url, Timeout: 10 * time.Second}.WithDefaults(), new(reload.Watcher), noLog)
}

// retryAfter is how long a client waits until it connects again.
const retryAfter = 100 * time.Millisecond

// publishers are devices that publish at a fixed rate, each with one message in flight, which it sends again until it is acknowledged.
type publishers struct {
	end          context.CancelFunc
	running      sync.WaitGroup
	acknowledged []int // by device
}

// payload is a message of a device.
type payload struct {
	Device int    `json:"device"`
	N      int    `json:"n"`
	Time   int64  `json:"time"` // in Unix milliseconds
	Pad    string `json:"pad"`
}

// publish starts the devices. stop may be called again.
func (o *options) publish(ctx context.Context, url string) (*publishers, error) {
	b, err := client(url)
	if err != nil {
		return nil, err
	}
	p := &publishers{acknowledged: make([]int, o.Devices)}
	ctx, p.end = context.WithCancel(ctx)
	for device := range o.Devices {
		p.running.Go(func() { p.acknowledged[device] = o.publishOne(ctx, b, device) })
	}
	return p, nil
}

// stop ends the devices, and returns how many messages of each were acknowledged.
func (p *publishers) stop() []int {
	p.end()
	p.running.Wait()
	return p.acknowledged
}

// publishOne is a device. It returns how many of its messages were acknowledged: the first so many.
func (o *options) publishOne(ctx context.Context, b *bridge.Broker, device int) (acknowledged int) {
	var c *bridge.Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	topic, step, begun := fmt.Sprintf("device/d%d/telemetry", device), time.Second*time.Duration(o.Devices)/time.Duration(o.Rate), time.Now()
	for ctx.Err() == nil {
		pause(ctx, time.Until(begun.Add(step*time.Duration(acknowledged))))
		if c == nil || c.Err() != nil {
			if c != nil {
				c.Close()
			}
			var err error
			if c, err = b.Connect(ctx, bridge.Session{ClientID: fmt.Sprintf("d%d", device)}); err != nil {
				pause(ctx, retryAfter)
				continue
			}
		}
		text, err := json.Marshal(payload{device, acknowledged + 1, time.Now().UnixMilli(), strings.Repeat("x", max(0, o.Size-60))})
		if err != nil {
			panic(err) // of numbers and a text
		}
		// One that is under way when the load ends is not counted, and may arrive.
		if results := c.Publish(ctx, 1, func(_ int, p *mqtt.Packet) { p.Topic, p.Payload = topic, text }); results[0] == nil {
			acknowledged++
		}
	}
	return acknowledged
}

// subscriber gets what arrives at the far end. It comes back whenever that does.
type subscriber struct {
	broker  *bridge.Broker
	end     context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	seen     []map[int]int // how often, by device and number
	last     []int         // the highest number
	disorder int
	newest   time.Time // when the message was sent that came last
}

// subscribe starts a subscriber, and returns when it has subscribed.
func subscribe(ctx context.Context, url string, devices int) (*subscriber, error) {
	b, err := client(url)
	if err != nil {
		return nil, err
	}
	s := &subscriber{broker: b, seen: make([]map[int]int, devices), last: make([]int, devices)}
	for i := range s.seen {
		s.seen[i] = make(map[int]int)
	}
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	ctx, s.end = context.WithCancel(ctx)
	s.running.Go(func() {
		for {
			select {
			case <-c.Done():
			case <-ctx.Done():
				c.Close()
				return
			}
			c.Close()
			for {
				if c, err = s.connect(ctx); err == nil || ctx.Err() != nil {
					break
				}
				pause(ctx, retryAfter)
			}
			if err != nil {
				return
			}
		}
	})
	return s, nil
}

func (s *subscriber) close() {
	s.end()
	s.running.Wait()
}

// connect makes a connection to the session that the broker keeps, and subscribes if it has none.
func (s *subscriber) connect(ctx context.Context) (*bridge.Conn, error) {
	c, err := s.broker.Connect(ctx, bridge.Session{ClientID: "subscriber", Kept: true, Expiry: time.Hour, Unanswered: 65535, OnPublish: s.take})
	if err != nil || c.Resumed {
		return c, err
	}
	if err = c.Subscribe(ctx, []mqtt.Subscription{{Filter: "site7/#", QoS: message.AtLeastOnce}}); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// take is bridge.Session.OnPublish.
func (s *subscriber) take(c *bridge.Conn, p *mqtt.Packet) {
	c.Acknowledge(p.ID)
	var m payload
	if json.Unmarshal(p.Payload, &m) != nil || m.Device >= len(s.seen) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = time.UnixMilli(m.Time)
	if s.seen[m.Device][m.N]++; s.seen[m.Device][m.N] > 1 {
		return
	}
	if m.N < s.last[m.Device] {
		s.disorder++
	}
	s.last[m.Device] = max(s.last[m.Device], m.N)
}

// caughtUp waits until what arrives is fresh, and returns how long after back that was.
func (s *subscriber) caughtUp(ctx context.Context, back time.Time) time.Duration {
	for ctx.Err() == nil && time.Since(back) < time.Minute {
		s.mu.Lock()
		newest := s.newest
		s.mu.Unlock()
		if newest.After(back) && time.Since(newest) < 500*time.Millisecond {
			break
		}
		pause(ctx, 20*time.Millisecond)
	}
	return time.Since(back)
}

// settle waits until all is there that was acknowledged, or nothing more has come for a while.
func (s *subscriber) settle(ctx context.Context, acknowledged []int) {
	const quiet = 5 * time.Second
	before := -1
	for since := time.Now(); ctx.Err() == nil && time.Since(since) < quiet; pause(ctx, 100*time.Millisecond) {
		lost, twice, _ := s.compare(acknowledged)
		if lost == 0 {
			return
		}
		if lost+twice != before {
			before, since = lost+twice, time.Now()
		}
	}
}

// compare returns how many of the acknowledged messages have not arrived, how many arrivals there were of one that had arrived before, and how many
// messages came behind a later one of their device.
func (s *subscriber) compare(acknowledged []int) (lost, twice, disorder int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for device, n := range acknowledged {
		for i := 1; i <= n; i++ {
			if s.seen[device][i] == 0 {
				lost++
			}
		}
		for _, times := range s.seen[device] {
			twice += times - 1
		}
	}
	return lost, twice, s.disorder
}
