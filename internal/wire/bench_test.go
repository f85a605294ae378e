package wire

import (
	"strings"
	"testing"

	"github.com/longline/longline/internal/message"
)

// A frame of about 150 bytes.
const benchPayload = `{"power":{"w":230.5,"var":-12.25},"phase":[1,2,3],"state":"charging","t":1767225600}`

func BenchmarkCodecs(b *testing.B) {
	for _, c := range []Codec{JSON, Protobuf} {
		for _, op := range []Op{Pub, Msg, Ack} {
			p := Packet{Op: op, ID: 1234567, Message: message.Message{
				Topic: "device/meter-0042/power", Payload: []byte(benchPayload),
				ContentType: message.JSON, QoS: 1,
			}}
			frame, err := c.Append(nil, &p)
			if err != nil {
				b.Fatal(err)
			}
			name := strings.TrimPrefix(c.Name(), "longline.v1.") + "/" + op.String()
			b.Run("decode/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(frame)))
				b.ReportAllocs()
				var back Packet
				for b.Loop() {
					if err := c.Decode(&back, frame, c.Text()); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("encode/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(frame)))
				b.ReportAllocs()
				buf := make([]byte, 0, 1024)
				for b.Loop() {
					if buf, err = c.Append(buf[:0], &p); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
