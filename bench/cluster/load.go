package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// pair is a publisher at one node and the subscriber of its topic at the next.
type pair struct {
	load    *load
	topic   string
	out, in net.Conn
	sent    []time.Duration // of the publications that wait for PUBACK, in order; guarded by mu
	mu      sync.Mutex
	id      uint16
	pending []byte // what the next turn writes
	payload []byte
}

// load is what crosses the nodes of a cluster: each publisher's messages go to a subscriber at another node.
type load struct {
	qos   message.QoS
	began time.Time
	pairs []*pair

	published, acknowledged, received atomic.Uint64

	failed chan error

	mu      sync.Mutex
	answers *hdrhistogram.Histogram // of acknowledgements, in ns
	arrive  *hdrhistogram.Histogram // from publication to delivery
}

const (
	payloadSize = 128
	mostLatency = int64(time.Minute)
)

// newLoad connects pairs clients of each kind, in turn to the nodes. stays says that the subscribers' sessions outlive their connections.
func newLoad(ctx context.Context, nodes []netip.AddrPort, pairs int, qos message.QoS, stays bool) (*load, error) {
	l := &load{qos: qos, began: time.Now(), failed: make(chan error, 1)}
	l.forget()
	for i := range pairs {
		p := &pair{load: l, topic: fmt.Sprintf("cross/%d/telemetry", i), payload: make([]byte, payloadSize)}
		l.pairs = append(l.pairs, p)
		var err error
		if p.in, err = connect(ctx, nodes[(i+1)%len(nodes)], fmt.Sprintf("subscriber-%d", i), !stays); err == nil {
			err = subscribe(p.in, p.topic, qos)
		}
		if err == nil {
			p.out, err = connect(ctx, nodes[i%len(nodes)], fmt.Sprintf("publisher-%d", i), true)
		}
		if err != nil {
			l.close()
			return nil, err
		}
		go p.read(p.in, p.delivered)
		go p.read(p.out, p.answered)
	}
	return l, nil
}

func (l *load) close() {
	for _, p := range l.pairs {
		for _, c := range []net.Conn{p.in, p.out} {
			if c != nil {
				_ = c.Close()
			}
		}
	}
}

// forget begins new figures.
func (l *load) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers, l.arrive = hdrhistogram.New(1000, mostLatency, 3), hdrhistogram.New(1000, mostLatency, 3)
}

func (l *load) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

// run publishes at a rate for d, and waits until all that was published has arrived.
func (l *load) run(ctx context.Context, rate float64, d time.Duration) error {
	const turn = time.Millisecond
	ticker := time.NewTicker(turn)
	defer ticker.Stop()
	begin, done := time.Now(), 0
	for time.Since(begin) < d {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-l.failed:
			return err
		case <-ticker.C:
		}
		for due := int(rate * time.Since(begin).Seconds()); done < due; done++ {
			l.pairs[done%len(l.pairs)].publish()
		}
		for _, p := range l.pairs {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	for deadline := time.Now().Add(20 * time.Second); l.received.Load() < l.published.Load() || l.qos > 0 && l.acknowledged.Load() < l.published.Load(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("of %d messages %d were acknowledged and %d arrived", l.published.Load(), l.acknowledged.Load(), l.received.Load())
		}
		select {
		case err := <-l.failed:
			return err
		case <-time.After(turn):
		}
	}
	return nil
}

// publish adds a publication to what the pair writes next.
func (p *pair) publish() {
	now := time.Since(p.load.began)
	binary.LittleEndian.PutUint64(p.payload, uint64(now))
	packet := mqtt.Packet{Type: mqtt.Publish, Topic: p.topic, Payload: p.payload, QoS: p.load.qos}
	if packet.QoS > 0 {
		p.id = p.id%(1<<15) + 1
		packet.ID = p.id
		p.mu.Lock()
		p.sent = append(p.sent, now)
		p.mu.Unlock()
	}
	p.pending, _ = mqtt.Append(p.pending, mqtt.V4, &packet) // it is valid
	p.load.published.Add(1)
}

func (p *pair) flush() error {
	if len(p.pending) == 0 {
		return nil
	}
	_, err := p.out.Write(p.pending)
	p.pending = p.pending[:0]
	return err
}

// read handles what a connection brings until it ends.
func (p *pair) read(c net.Conn, handle func(*mqtt.Packet, []byte) []byte) {
	d := mqtt.Decoder{Version: mqtt.V4, MaxPacket: 1 << 20}
	buffer, answers := make([]byte, 0, 64<<10), []byte(nil)
	var packet mqtt.Packet
	for {
		n, err := c.Read(buffer[len(buffer):cap(buffer)])
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				p.load.fail(err)
			}
			return
		}
		buffer = buffer[:len(buffer)+n]
		rest := buffer
		answers = answers[:0]
		for {
			size, err := d.Size(rest)
			if err == nil && (size == 0 || size > len(rest)) {
				break
			}
			if err == nil {
				_, err = d.Decode(&packet, rest[:size])
			}
			if err != nil {
				p.load.fail(err)
				return
			}
			answers = handle(&packet, answers)
			rest = rest[size:]
		}
		buffer = buffer[:copy(buffer, rest)]
		if len(answers) > 0 {
			if _, err := c.Write(answers); err != nil {
				p.load.fail(err)
				return
			}
		}
	}
}

// delivered handles what the subscriber gets.
func (p *pair) delivered(packet *mqtt.Packet, answers []byte) []byte {
	if packet.Type != mqtt.Publish || len(packet.Payload) != payloadSize {
		return answers
	}
	p.load.received.Add(1)
	p.load.record(&p.load.arrive, time.Duration(binary.LittleEndian.Uint64(packet.Payload)))
	if packet.QoS > 0 {
		answers, _ = mqtt.Append(answers, mqtt.V4, &mqtt.Packet{Type: mqtt.Puback, ID: packet.ID})
	}
	return answers
}

// answered handles what the publisher gets.
func (p *pair) answered(packet *mqtt.Packet, answers []byte) []byte {
	if packet.Type != mqtt.Puback {
		return answers
	}
	p.mu.Lock()
	since := p.sent[0]
	p.sent = p.sent[1:]
	p.mu.Unlock()
	p.load.acknowledged.Add(1)
	p.load.record(&p.load.answers, since)
	return answers
}

func (l *load) record(h **hdrhistogram.Histogram, since time.Duration) {
	took := int64(time.Since(l.began) - since)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = (*h).RecordValue(min(max(1, took), mostLatency)) // in range
}

// connect opens a connection of MQTT 3.1.1.
func connect(ctx context.Context, node netip.AddrPort, id string, clean bool) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", node.String())
	if err != nil {
		return nil, err
	}
	if err = exchange(c, &mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Clean: clean, ClientID: id}}, mqtt.Connack); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return c, nil
}

func subscribe(c net.Conn, filter string, qos message.QoS) error {
	return exchange(c, &mqtt.Packet{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: qos}}}, mqtt.Suback)
}

// exchange sends a packet and waits for its answer, which comes alone.
func exchange(c net.Conn, p *mqtt.Packet, want mqtt.Type) error {
	b, err := mqtt.Append(nil, mqtt.V4, p)
	if err != nil {
		return err
	}
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	answer := make([]byte, 256)
	n, err := c.Read(answer)
	if err != nil {
		return err
	}
	d := mqtt.Decoder{Version: mqtt.V4, MaxPacket: 1 << 10}
	var got mqtt.Packet
	if _, err := d.Decode(&got, answer[:n]); err != nil {
		return err
	}
	if got.Type != want || got.Reason != mqtt.Success {
		return fmt.Errorf("%v with reason %v, want %v", got.Type, got.Reason, want)
	}
	return c.SetReadDeadline(time.Time{})
}
