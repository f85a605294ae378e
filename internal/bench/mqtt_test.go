package bench

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// kept is a load that keeps the packets that it gets.
type kept [][]byte

func (k *kept) received(_ *conn, b []byte) error {
	*k = append(*k, bytes.Clone(b))
	return nil
}

func encodeAll(t *testing.T, packets ...*mqtt.Packet) (stream []byte, each [][]byte) {
	t.Helper()
	for _, p := range packets {
		b, err := mqtt.Append(nil, mqtt.V4, p)
		if err != nil {
			t.Fatal(err)
		}
		stream, each = append(stream, b...), append(each, b)
	}
	return stream, each
}

// However the stream is split into messages, the packets are the same, and no bytes are left at the end.
func TestPacketsOfAnySplit(t *testing.T) {
	stream, want := encodeAll(t,
		&mqtt.Packet{Type: mqtt.Publish, Topic: "a/b", Payload: pattern(200)},
		&mqtt.Packet{Type: mqtt.Puback, ID: 7},
		&mqtt.Packet{Type: mqtt.Pingresp},
		&mqtt.Packet{Type: mqtt.Publish, Topic: "c"},
	)
	for i := range stream {
		for _, j := range []int{i, i + 1, (i + len(stream)) / 2, len(stream)} {
			var got kept
			c := &conn{lane: &lane{load: &got}}
			for _, part := range [][]byte{stream[:i], stream[i:j], stream[j:]} {
				if err := c.packets(bytes.Clone(part)); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.EqualFunc(got, want, bytes.Equal) || len(c.partial) != 0 {
				t.Fatalf("cut at %d and %d: %d packets, %d bytes left", i, j, len(got), len(c.partial))
			}
		}
	}
}

func TestPacketsOfNoClient(t *testing.T) {
	c := &conn{lane: &lane{load: new(kept)}}
	if err := c.packets([]byte{byte(mqtt.Subscribe)<<4 | 2, 0}); err == nil {
		t.Error("a server that subscribes is believed")
	}
}

// sample returns a lane of three clients, client 2 having sent one message, and that message.
func sample(t *testing.T, newTraffic func(*lane, int) traffic, qos message.QoS) (l *lane, x traffic, b []byte) {
	t.Helper()
	l = &lane{conns: make([]conn, 3)}
	for i := range l.conns {
		l.conns[i] = conn{lane: l, number: uint32(i)}
	}
	x = newTraffic(l, 32)
	payload := pattern(32)
	stamp(payload, &l.conns[2], 5*time.Second)
	l.conns[2].sent = 1
	_, each := encodeAll(t, &mqtt.Packet{Type: mqtt.Publish, Topic: "device/2/telemetry", Payload: payload, QoS: qos, ID: 9})
	return l, x, each[0]
}

func TestTelemetryChecksWhatComes(t *testing.T) {
	l, x, b := sample(t, newTelemetry, message.AtMostOnce)
	for i := range b {
		wrong := bytes.Clone(b)
		wrong[i] ^= 0x01
		at := len(b) - 32 // start of the payload
		if latency := i >= at+8 && i < at+MinSize; latency {
			continue
		}
		if of, _, err := x.answer(&l.conns[0], wrong); err == nil {
			t.Errorf("byte %d is wrong, and it is a message of %d", i, of.number)
		}
	}
	of, since, err := x.answer(&l.conns[0], b)
	if err != nil || of != &l.conns[2] || since != 5*time.Second {
		t.Errorf("%v since %v, %v", of, since, err)
	}
	if _, _, err := x.answer(&l.conns[0], b); err == nil {
		t.Error("it came twice")
	}
}

// A message after lost ones does not count as out of order.
func TestTelemetryWithGaps(t *testing.T) {
	l, x, _ := sample(t, newTelemetry, message.AtMostOnce)
	for n := range uint32(4) {
		l.conns[2].sent = n
		payload := pattern(32)
		stamp(payload, &l.conns[2], 0)
		l.conns[2].sent = 4
		_, each := encodeAll(t, &mqtt.Packet{Type: mqtt.Publish, Topic: "device/2/telemetry", Payload: payload})
		if n == 1 {
			continue // lost
		}
		if _, _, err := x.answer(&l.conns[0], each[0]); err != nil {
			t.Errorf("message %d: %v", n, err)
		}
	}
}

func TestReportedWantsTheAcknowledgementDue(t *testing.T) {
	l, x, _ := sample(t, newReported, message.AtLeastOnce)
	x.(*reported).sent[2] = []time.Duration{0}
	_, each := encodeAll(t, &mqtt.Packet{Type: mqtt.Puback, ID: identifier(0)}, &mqtt.Packet{Type: mqtt.Puback, ID: identifier(1)}, &mqtt.Packet{Type: mqtt.Pingresp})
	for _, b := range each[1:] {
		if _, _, err := x.answer(&l.conns[2], b); err == nil {
			t.Errorf("took % x", b)
		}
	}
	if of, _, err := x.answer(&l.conns[2], each[0]); err != nil || of != &l.conns[2] {
		t.Errorf("%v, %v", of, err)
	}
}

func TestIdentifiers(t *testing.T) {
	for _, n := range []uint32{0, 1, 0x7FFF, 0x8000, 0xFFFF, 1 << 31} {
		if identifier(n) == 0 || identifier(n) == identifier(n+1) {
			t.Errorf("identifier of %d is %d", n, identifier(n))
		}
	}
}
