package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire/mqtt"
)

// Packets may straddle what carries them, and share it: any split of the stream means the same
// [MQTT-6.0.0-2].
func TestMQTTSplits(t *testing.T) {
	const rounds = 20
	eachWay(t, ways, settings{}, func(w *mqttWorld) {
		var stream []byte
		for _, packet := range []*mqtt.Packet{
			opening("a"),
			{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "t/#", QoS: 1}}},
			saying("t/1="+string(make([]byte, 300)), 0, 0),
			saying("t/2=two", 1, 2),
			{Type: mqtt.Pingreq},
		} {
			stream, _ = mqtt.Append(stream, w.way.version, packet)
		}
		for round := range rounds {
			p := w.dial()
			for rest := stream; len(rest) > 0; {
				n := 1
				if round > 0 {
					n = 1 + rand.IntN(len(rest))
				}
				p.write(rest[:n])
				rest = rest[n:]
			}
			seen := map[mqtt.Type]int{}
			for range 6 {
				packet, ok := <-p.packets
				if !ok {
					w.t.Fatal(p.end)
				}
				seen[packet.Type]++
			}
			if seen[mqtt.Publish] != 2 || seen[mqtt.Connack]*seen[mqtt.Suback]*seen[mqtt.Puback]*seen[mqtt.Pingresp] != 1 {
				w.t.Fatalf("round %d: %v", round, seen)
			}
			p.say(&mqtt.Packet{Type: mqtt.Disconnect})
			p.ended()
		}
	})
}

// While its answers wait, a publisher is not read, in the middle of what it has sent too.
func TestMQTTPausedInTheMiddle(t *testing.T) {
	s := settings{}
	s.sessions.Unanswered, s.sessions.InFlight, s.store.Queue.Count = 2, 1, 1
	eachWay(t, ways[1:], s, func(w *mqttWorld) {
		down := w.client("down")
		down.hear(1, "t")
		up := w.client("up")
		const n = 10
		var all []*mqtt.Packet
		for id := range uint16(n) {
			all = append(all, saying("t=x", 1, id+1))
		}
		up.say(all...)
		for range n {
			down.receive("t=x qos 1")
		}
		for id := range uint16(n) {
			if got := up.take(mqtt.Puback); got.ID != id+1 || got.Reason != mqtt.Success {
				w.t.Fatalf("PUBACK of %d, want %d: %s", got.ID, id+1, show(got))
			}
		}
	})
}

// A text frame ends the connection [MQTT-6.0.0-1].
func TestMQTTTextFrame(t *testing.T) {
	w := newWorld(t, settings{})
	p := w.connect("/connect", "soap", "mqttv3.1")
	if got := p.ws.Subprotocol(); got != "mqttv3.1" {
		t.Errorf("speaks %q", got)
	}
	p.send([]byte("hello"))
	if e := p.closed(); e.Code != coder.StatusUnsupportedData {
		t.Error(e)
	}
}

// The URL may name the device; then CONNECT must not name another.
func TestMQTTDeviceOfTheURL(t *testing.T) {
	w := newWorld(t, settings{})
	for id, want := range map[string]mqtt.Code{"": mqtt.Success, "a": mqtt.Success, "b": mqtt.ClientIDNotValid} {
		p := w.connect("/connect/a", "mqtt")
		p.text = false
		b, _ := mqtt.Append(nil, mqtt.V5, opening(id))
		p.send(b)
		var answer mqtt.Packet
		if _, err := (&mqtt.Decoder{Version: mqtt.V5}).Decode(&answer, p.next()); err != nil || answer.Reason != want {
			t.Errorf("client id %q: %v, %v; want %v", id, answer.Reason, err, want)
		}
		if answer.Properties.AssignedClientID != "" {
			t.Error("an id was assigned")
		}
	}
}

// rawMQTT is a connection for bytes made before.
type rawMQTT struct {
	net.Conn
	way way
}

// raw opens a connection, up to CONNACK.
func (w *mqttWorld) raw() *rawMQTT {
	w.t.Helper()
	c := &rawMQTT{w.stream(), w.way}
	if w.way.carrier == "websocket" {
		c.Conn = w.world.dial()
		if _, err := io.WriteString(c, upgrade("/mqtt", "Sec-WebSocket-Protocol: mqtt")); err != nil {
			w.t.Fatal(err)
		}
	}
	c.ping(w.t, c.bytes(opening("raw"), &mqtt.Packet{Type: mqtt.Pingreq}), make([]byte, 4<<10))
	return c
}

// bytes are packets as they are sent.
func (c *rawMQTT) bytes(packets ...*mqtt.Packet) (b []byte) {
	for _, packet := range packets {
		b, _ = mqtt.Append(b, c.way.version, packet)
	}
	if c.way.carrier == "websocket" {
		b = websocket.AppendMaskedFrame(nil, websocket.Binary, b, websocket.NewKey())
	}
	return b
}

// ping sends b, whose last packet is PINGREQ, and reads up to the PINGRESP.
func (c *rawMQTT) ping(t testing.TB, b, room []byte) {
	_, err := c.Write(b)
	for n := 0; err == nil && !bytes.HasSuffix(room[:n], pong); {
		var more int
		more, err = c.Read(room[n:])
		n += more
	}
	if err != nil {
		t.Fatal(err)
	}
}

var pong = []byte{0xD0, 0} // PINGRESP

// A QoS 0 uplink without subscriber allocates nothing, nor does a ping. AllocsPerRun counts
// what the whole process allocates, so bytes are made and read into before.
func TestMQTTNoAllocations(t *testing.T) {
	eachWay(t, ways[1:], settings{gateway: Config{Loops: 1}}, func(w *mqttWorld) {
		c, room := w.raw(), make([]byte, 4<<10)
		b := c.bytes(saying("meter/42/power=230", 0, 0), &mqtt.Packet{Type: mqtt.Pingreq})
		if n := testing.AllocsPerRun(200, func() { c.ping(w.t, b, room) }); n != 0 {
			w.t.Errorf("%v allocations", n)
		}
	})
}

// A client that does not take its answers is not read any more; when it takes them, all of
// them come.
func TestMQTTChoked(t *testing.T) {
	const pings, kernels = 500, 8 << 20 // more bytes than the kernels hold
	eachWay(t, ways[1:3], settings{gateway: Config{Loops: 1, PendingBytes: 4 << 10}}, func(w *mqttWorld) {
		c := w.raw()
		tcp := c.Conn.(*net.TCPConn)
		_, _ = tcp.SetReadBuffer(64<<10), tcp.SetWriteBuffer(64<<10)
		var packets []*mqtt.Packet
		for range pings {
			packets = append(packets, &mqtt.Packet{Type: mqtt.Pingreq})
		}
		b, wrote := c.bytes(packets...), 0
		for err := error(nil); err == nil; {
			if wrote > kernels {
				w.t.Fatalf("%d bytes were taken, %d bytes of answers are pending: the device is read on", wrote, w.pending())
			}
			_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) // nobody reads by then
			var n int
			n, err = c.Write(b[wrote%len(b):])
			wrote += n
		}
		if n := w.pending(); n > 512<<10 {
			w.t.Errorf("%d bytes of answers are pending", n)
		}
		_ = c.SetWriteDeadline(time.Time{})
		rounds := int64(wrote/len(b) + 1)
		go func() { _, _ = c.Write(append(b[wrote%len(b):], c.bytes(&mqtt.Packet{Type: mqtt.Disconnect})...)) }()
		got, err := io.Copy(io.Discard, c)
		if want := rounds * pings * int64(len(pong)); err != nil || got < want {
			w.t.Errorf("%d bytes of answers, want %d: %v", got, want, err)
		}
	})
}

// Busy publishers do not keep one subscriber on the same loop from its messages.
func TestMQTTFairness(t *testing.T) {
	const publishers, messages = 10, 10
	eachWay(t, ways[1:3], settings{gateway: Config{Loops: 1}}, func(w *mqttWorld) {
		down, up := w.client("down"), w.client("up")
		down.hear(1, "quiet")
		flood, _ := mqtt.Append(nil, w.way.version, saying("busy="+string(make([]byte, 200)), 0, 0))
		flood = bytes.Repeat(flood, 100)
		stop := make(chan struct{})
		var busy sync.WaitGroup
		defer busy.Wait()
		defer close(stop)
		for i := range publishers {
			p := w.client(fmt.Sprint("busy", i))
			busy.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = p.conn.Write(flood)
					}
				}
			})
		}
		for range messages {
			up.publish("quiet=x", 1)
			down.receive("quiet=x qos 1")
		}
	})
}

// FuzzMQTTConnection sends arbitrary bytes, behind a CONNECT and without, by both carriers.
// Whatever they say, the gateway lives on, and a neighbour on the same loop is served.
func FuzzMQTTConnection(f *testing.F) {
	for _, packets := range [][]*mqtt.Packet{
		{{Type: mqtt.Pingreq}},
		{opening("intruder"), opening("intruder")},
		{saying("t=x", 0, 0), saying("t=x", 1, 1), saying("t=x", 2, 2), {Type: mqtt.Pubrel, ID: 2}, {Type: mqtt.Disconnect}},
		{{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "#", QoS: 2}}}, saying("t=x", 2, 2), {Type: mqtt.Pubrec, ID: 1}},
		{{Type: mqtt.Subscribe, ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "$share/g/#"}}}, {Type: mqtt.Unsubscribe, ID: 2, Filters: []string{"#"}}},
		{{Type: mqtt.Publish, Topic: "t", Properties: mqtt.Properties{TopicAlias: 16}}, {Type: mqtt.Publish, Properties: mqtt.Properties{TopicAlias: 16}}},
		{{Type: mqtt.Publish, Topic: "device/intruder/reply", QoS: 2, ID: 3, Properties: mqtt.Properties{CorrelationData: []byte("1")}}},
		{{Type: mqtt.Auth, Reason: mqtt.ReAuthenticate}},
	} {
		var b []byte
		for _, packet := range packets {
			b, _ = mqtt.Append(b, mqtt.V5, packet)
		}
		f.Add(b)
	}
	w := newWorld(f, settings{gateway: Config{Loops: 1, MaxPayload: 4 << 10, MQTT: MQTT{Listen: "127.0.0.1:0"}}})
	neighbour := (&mqttWorld{w, ways[3]}).client("neighbour")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, version := range []mqtt.Version{0, mqtt.V4, mqtt.V5} {
			stream := data
			if version != 0 {
				stream, _ = mqtt.Append(nil, version, opening("intruder"))
				stream = append(stream, data...)
			}
			intrudeMQTT(t, w, stream)
			intrude(t, w, "mqtt", websocket.AppendMaskedFrame(nil, websocket.Binary, stream, 0))
		}
		on := *neighbour
		on.t = t
		on.quiet()
	})
}

// intrudeMQTT sends the bytes and the end of the stream, and waits for the gateway's.
func intrudeMQTT(t *testing.T, w *world, data []byte) {
	on := *w
	on.t = t
	p := (&mqttWorld{&on, ways[3]}).stream()
	defer func() { _ = p.Close() }()
	_, _ = p.Write(data) // the gateway may end before all is written
	_ = p.(interface{ CloseWrite() error }).CloseWrite()
	if _, err := io.Copy(io.Discard, p); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the gateway does not let go of the connection:", err)
	}
}
