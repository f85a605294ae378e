package gateway

import (
	"math/rand/v2"
	"testing"

	"github.com/longline/longline/internal/limit"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire/mqtt"
)

// What is read past may come in any pieces: its answer and what is behind it are the same.
func TestMQTTSplitsOfWhatIsReadPast(t *testing.T) {
	const rounds = 20
	eachWay(t, ways[:3], settings{gateway: Config{MaxPayload: 1000}}, func(w *mqttWorld) {
		large := string(make([]byte, 1500))
		stream, _ := mqtt.Append(nil, w.way.version, opening("a"))
		var want []mqtt.Packet
		for id := range uint16(9) {
			q := message.QoS(id % 3)
			stream, _ = mqtt.Append(stream, w.way.version, saying("t="+large, q, id+1))
			stream, _ = mqtt.Append(stream, w.way.version, saying("t=behind", 1, id+100))
			switch q {
			case 1:
				want = append(want, mqtt.Packet{Type: mqtt.Puback, ID: id + 1})
			case 2:
				want = append(want, mqtt.Packet{Type: mqtt.Pubrec, ID: id + 1})
			}
			want = append(want, mqtt.Packet{Type: mqtt.Puback, ID: id + 100})
		}
		for range rounds {
			p := w.dial()
			for rest := stream; len(rest) > 0; {
				n := 1 + rand.IntN(min(len(rest), 1800))
				p.write(rest[:n])
				rest = rest[n:]
			}
			p.take(mqtt.Connack)
			for i := range want {
				if got := p.take(want[i].Type); got.ID != want[i].ID {
					w.t.Fatalf("%d: %s, want %s", i, show(got), show(&want[i]))
				}
			}
			p.say(&mqtt.Packet{Type: mqtt.Disconnect})
			p.ended()
		}
		if n := w.dropped("too_large"); n != 9*rounds {
			w.t.Errorf("%d counted, want %d", n, 9*rounds)
		}
	})
}

// What is read past is charged as what is read, and what is too large for that ends the connection.
func TestMQTTReadPastIsBounded(t *testing.T) {
	s := settings{gateway: Config{MaxPayload: 1000, Limits: limit.Config{Device: limit.DeviceConfig{Bytes: 20_000}}}}
	eachWay(t, ways[:2], s, func(w *mqttWorld) {
		p := w.client("a")
		p.say(saying("t="+string(make([]byte, 40_000)), 1, 1))
		w.await("the device to be slowed", func() bool { return w.metric("longline_readers_slowed_total/rate") > 0 })
		p.confirmed(1, 1)
		p.write([]byte{0x32, 0x80, 0x80, 0x80, 0x08, 0, 1, 't', 0, 2}) // of 16 MiB and its header
		p.ended()
		if n := w.metric("longline_closes_total/message_too_big"); n != 1 {
			w.t.Errorf("%v closed", n)
		}
	})
}
