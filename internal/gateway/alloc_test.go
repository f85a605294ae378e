package gateway

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/websocket"
)

// What a connection does all day allocates nothing, from the bytes of its socket to the
// router and back. AllocsPerRun counts what the whole process allocates, so the devices
// here write bytes made before and read into buffers made before.
func TestNoAllocations(t *testing.T) {
	w := newWorld(t, settings{gateway: Config{Loops: 1}})
	ping := websocket.AppendMaskedFrame(nil, websocket.Ping, []byte("p"), websocket.NewKey())
	pong := websocket.AppendFrame(nil, websocket.Pong, []byte("p"))
	uplink := masked(`{"op":"pub","topic":"meter/42/power","payload":{"w":230.5},"props":{"a":"b"}}`)
	for name, exchange := range map[string]struct{ send, receive []byte }{
		"ping and pong":                   {ping, pong},
		"QoS 0 uplink without subscriber": {append(uplink, ping...), pong},
	} {
		c, r := w.rawDevice("d")
		skipFrame(t, r) // hello
		got := make([]byte, len(exchange.receive))
		if n := testing.AllocsPerRun(200, func() {
			if _, err := c.Write(exchange.send); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, got); err != nil || string(got) != string(exchange.receive) {
				t.Fatalf("%q, %v; want %q", got, err, exchange.receive)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// Fan-out allocates the message and its encoded form, and nothing for each connection. The
// race detector has pools lose things now and then, more on a busy machine: an allocation
// that belongs to a connection would be there in every try.
func TestFanOutAllocatesNothingPerConnection(t *testing.T) {
	const more, tries = 100, 5
	var few, many float64
	for range tries {
		if few, many = fanOut(t, 2), fanOut(t, 2+more); many-few <= more/4 {
			return
		}
	}
	t.Errorf("%v allocations for 2 devices, %v for %d", few, many, 2+more)
}

// fanOut returns the allocations of one publication to n devices.
func fanOut(t *testing.T, n int) float64 {
	w := newWorld(t, settings{gateway: Config{Loops: 1}, sessions: session.Config{Expiry: time.Second}})
	subscribe := masked(`{"op":"sub","id":1,"filters":["news"]}`)
	conns := make([]net.Conn, n)
	for i := range conns {
		c, r := w.rawDevice("d" + strconv.Itoa(i))
		if _, err := c.Write(subscribe); err != nil {
			t.Fatal(err)
		}
		skipFrame(t, r)
		skipFrame(t, r)
		conns[i] = c
	}
	m := &message.Message{Topic: "news", Payload: []byte(`{"to":"all"}`), ContentType: message.JSON, Time: time.Now().UnixMilli()}
	frame := websocket.AppendFrame(nil, websocket.Text, []byte(`{"op":"msg","topic":"news","payload":{"to":"all"},"ts":`+strconv.FormatInt(m.Time, 10)+`}`))
	got := make([]byte, len(frame))
	return testing.AllocsPerRun(100, func() {
		if _, err := w.router.Publish(m, nil); err != nil {
			t.Fatal(err)
		}
		for _, c := range conns {
			if _, err := io.ReadFull(c, got); err != nil || string(got) != string(frame) {
				t.Fatalf("%q, %v; want %q", got, err, frame)
			}
		}
	})
}

// skipFrame reads one short frame of the gateway.
func skipFrame(t testing.TB, r *bufio.Reader) {
	t.Helper()
	header := make([]byte, 2)
	if _, err := io.ReadFull(r, header); err != nil {
		t.Fatal(err)
	}
	n := int(header[1])
	if n == 126 {
		if _, err := io.ReadFull(r, header); err != nil {
			t.Fatal(err)
		}
		n = int(header[0])<<8 | int(header[1])
	}
	if _, err := r.Discard(n); err != nil {
		t.Fatal(err)
	}
}
