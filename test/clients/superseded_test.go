package clients

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

func TestFrames(t *testing.T) {
	text := "HTTP/1.1 101 Switching Protocols\r\n\r\n" +
		"\x81\x02hi" + "\x82\x7e\x01\x00" + strings.Repeat("x", 256) + "\x89\x00" +
		"\x02\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + strings.Repeat("y", 1<<16) + "\x88\x02\x03\xe8"
	want := []string{"1 at 40", "2 at 300", "9 at 302", "2 at 65848", "8 at 65852"}
	for _, piece := range []int{1, 2, 3, 7, 1000, len(text)} {
		var f frames
		var got []string
		for p := range slices.Chunk([]byte(text), piece) {
			f.see(p, func(opcode byte, end int64) { got = append(got, fmt.Sprintf("%d at %d", opcode, end)) })
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pieces of %d: %v, want %v", piece, got, want)
		}
	}
}

// pair returns both ends of a TCP connection.
func pair(t *testing.T) (device, gateway net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if device, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if gateway, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = device.Close(); _ = gateway.Close() })
	return device, gateway
}

// await waits until the set says what is wanted.
func await(t *testing.T, s *Superseded, open, late int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		_, o, _, l := s.Report()
		if len(o) == open && len(l) == late {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("open %v, late %v; want %d and %d", o, l, open, late)
		}
	}
}

// arrive waits until so many bytes have arrived.
func arrive(t *testing.T, conn net.Conn, bytes int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); received(conn.(syscall.Conn)) < int64(bytes); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what was sent does not arrive")
		}
	}
}

// What comes on an old MQTT connection counts if it came after the new one was accepted, but for DISCONNECT.
func TestSupersededMQTT(t *testing.T) {
	start := time.Now()
	s := NewSuperseded(func() time.Duration { return time.Since(start) })
	device, gateway := pair(t)
	c := NewMQTTConn(device, mqtt.V5)
	sent := 0
	send := func(p *mqtt.Packet) {
		b, err := mqtt.Append(nil, mqtt.V5, p)
		sent += len(b)
		if err == nil {
			_, err = gateway.Write(b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	publish := &mqtt.Packet{Type: mqtt.Publish, Topic: "t", QoS: message.AtLeastOnce, ID: 1}
	for range 100 { // more than its channel has room for
		send(publish)
	}
	arrive(t, device, sent)
	c.Supersede(s, "d")
	await(t, s, 1, 0)
	send(publish)
	await(t, s, 1, 1)
	send(&mqtt.Packet{Type: mqtt.Disconnect, Reason: mqtt.SessionTakenOver})
	_ = gateway.Close()
	await(t, s, 0, 1)
}

// A connection of WebSocket that its user was parted from is read until the gateway's close frame.
func TestSupersededWebSocket(t *testing.T) {
	start := time.Now()
	s := NewSuperseded(func() time.Duration { return time.Since(start) })
	device, gateway := pair(t)
	c := &parting{TCPConn: device.(*net.TCPConn)}
	write := func(text string) {
		if _, err := gateway.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	const begins = "HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02h"
	write(begins)
	arrive(t, device, len(begins))
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	c.part()
	if _, err := c.Read(make([]byte, 100)); err == nil {
		t.Fatal("its user still reads")
	}
	_ = c.Close()
	c.supersede(s, "d")
	await(t, s, 1, 0)
	write("i\x89\x00") // the end of a frame that had begun
	await(t, s, 1, 1)
	write("\x81\x01x")
	await(t, s, 1, 2)
	write("\x88\x00")
	await(t, s, 0, 2)
}
