// Package bridgetest has a broker for tests that says what the test makes it say.
package bridgetest

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// patience is how long a broker waits for what has to come.
const patience = 20 * time.Second

// Broker is a broker that the test plays. Its methods are for the test's goroutine.
type Broker struct {
	t        testing.TB
	listener net.Listener
	accepted chan net.Conn
}

// Start starts a broker that ends with the test.
func Start(t testing.TB) *Broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{t: t, listener: l, accepted: make(chan net.Conn, 100)}
	go func() {
		defer close(b.accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.accepted <- c
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		for c := range b.accepted {
			_ = c.Close()
		}
	})
	return b
}

// URL returns the URL of the broker.
func (b *Broker) URL() string { return "mqtt://" + b.listener.Addr().String() }

// Peer is one connection to the broker.
type Peer struct {
	Level byte // the protocol level of its CONNECT, of which Accept returns the packet without the bit of a bridge

	t       testing.TB
	version mqtt.Version
	conn    net.Conn
	buffer  []byte
}

// Accept waits for a connection and its CONNECT.
func (b *Broker) Accept(v mqtt.Version) (*Peer, *mqtt.Packet) {
	b.t.Helper()
	select {
	case c := <-b.accepted:
		b.t.Cleanup(func() { _ = c.Close() })
		p := &Peer{t: b.t, conn: c}
		hello := p.Read()
		if p.version = v; hello.Type != mqtt.Connect {
			b.t.Fatalf("the first packet is %s", hello.Type)
		}
		return p, hello
	case <-time.After(patience):
		b.t.Fatal("nobody connects")
		return nil, nil
	}
}

// Welcome is Accept, answered by this CONNACK.
func (b *Broker) Welcome(v mqtt.Version, connack mqtt.Packet) *Peer {
	b.t.Helper()
	p, _ := b.Accept(v)
	connack.Type = mqtt.Connack
	p.Send(connack)
	return p
}

// Read waits for the next packet, other than PINGREQ, which it answers.
func (p *Peer) Read() *mqtt.Packet {
	p.t.Helper()
	for {
		packet := p.Next()
		if packet.Type != mqtt.Pingreq {
			return packet
		}
		p.Send(mqtt.Packet{Type: mqtt.Pingresp})
	}
}

// Next waits for the next packet.
func (p *Peer) Next() *mqtt.Packet {
	p.t.Helper()
	packet := p.next()
	if packet == nil {
		p.t.Fatal("the connection has ended instead of a packet")
	}
	return packet
}

// next returns nil at the end of the connection.
func (p *Peer) next() *mqtt.Packet {
	p.t.Helper()
	d := mqtt.Decoder{Version: p.version, Server: true}
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		const level = 8 // its place in a CONNECT of less than 128 bytes
		if p.version == 0 && p.Level == 0 && len(p.buffer) > level {
			p.Level = p.buffer[level]
			p.buffer[level] &^= 0x80
		}
		packet := new(mqtt.Packet)
		n, err := d.Decode(packet, p.buffer)
		if err != nil {
			p.t.Fatalf("a bad packet: %v", err)
		}
		if n > 0 {
			p.buffer = slices.Clone(p.buffer[n:]) // the packet keeps the old one
			return packet
		}
		room := make([]byte, 64<<10)
		n, err = p.conn.Read(room)
		if n == 0 && err != nil {
			return nil
		}
		p.buffer = append(slices.Clip(p.buffer), room[:n]...)
	}
}

// Expect waits for a packet of that type.
func (p *Peer) Expect(t mqtt.Type) *mqtt.Packet {
	p.t.Helper()
	packet := p.Read()
	if packet.Type != t {
		p.t.Fatalf("%s came, not %s", packet.Type, t)
	}
	return packet
}

// Ended waits until the other side has ended the connection, and returns the types of the packets that came before.
func (p *Peer) Ended() (before []mqtt.Type) {
	p.t.Helper()
	for {
		packet := p.next()
		if packet == nil {
			return before
		}
		before = append(before, packet.Type)
	}
}

// Send sends a packet.
func (p *Peer) Send(packet mqtt.Packet) {
	p.t.Helper()
	b, err := mqtt.Append(nil, p.version, &packet)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// Pieces sends a packet in pieces of that size.
func (p *Peer) Pieces(packet mqtt.Packet, size int) {
	p.t.Helper()
	b, err := mqtt.Append(nil, p.version, &packet)
	if err != nil {
		p.t.Fatal(err)
	}
	for piece := range slices.Chunk(b, size) {
		if _, err := p.conn.Write(piece); err != nil {
			p.t.Fatal(err)
		}
	}
}

// Publish sends a publication of QoS 1.
func (p *Peer) Publish(id uint16, topic, payload string) {
	p.t.Helper()
	p.Send(mqtt.Packet{Type: mqtt.Publish, ID: id, QoS: message.AtLeastOnce, Topic: topic, Payload: []byte(payload)})
}

// Acknowledge sends a PUBACK.
func (p *Peer) Acknowledge(id uint16, code mqtt.Code) {
	p.t.Helper()
	p.Send(mqtt.Packet{Type: mqtt.Puback, ID: id, Reason: code})
}

// Grant answers the next packet, which has to be a SUBSCRIBE, and returns it.
func (p *Peer) Grant() *mqtt.Packet {
	p.t.Helper()
	s := p.Expect(mqtt.Subscribe)
	answer := mqtt.Packet{Type: mqtt.Suback, ID: s.ID}
	for _, one := range s.Subscriptions {
		answer.Codes = append(answer.Codes, mqtt.Code(one.QoS))
	}
	p.Send(answer)
	return s
}

// Cut ends the connection.
func (p *Peer) Cut() { _ = p.conn.Close() }
