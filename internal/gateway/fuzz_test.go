package gateway

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/longline/longline/internal/websocket"
)

// FuzzDevice sends arbitrary bytes behind a handshake, as they are and as the payload of a
// text and of a binary frame. Whatever they say, the gateway lives on, and a neighbour on
// the same loop is served.
func FuzzDevice(f *testing.F) {
	for _, seed := range []string{
		"", "\x00", "\x81\x80", "hello", `{"op":"pub","id":1,"topic":"t","payload":1,"qos":1}`,
		`{"op":"sub","id":1,"filters":["#","t/+"],"qos":1}`, `{"op":"unsub","id":1,"filters":["#"]}`,
		`{"op":"ack","id":1}`, `{"op":"reply","id":1,"error":{"code":"c"}}`, `{"op":"pub","topic":"$x","retain":true}`,
		"\x12\x05\x12\x01t\x28\x00", "\x22\x06\x08\x01\x12\x02t#", "\x88\x82\x00\x00\x00\x00\x03\xe8",
		"\x01\x81\x00\x00\x00\x00{\x89\x80\x00\x00\x00\x00\x80\x81\x00\x00\x00\x00}",
		string(masked(`{"op":"sub","id":1,"filters":["#"],"qos":1}`)) + string(masked(`{"op":"pub","id":1,"topic":"t","qos":1}`)),
	} {
		f.Add([]byte(seed))
	}
	w := newWorld(f, settings{gateway: Config{Loops: 1, MaxPayload: 4 << 10}})
	neighbour := w.greeted("/connect/neighbour", "neighbour")
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, protocol := range []string{"longline.v1.json", "longline.v1.protobuf"} {
			intrude(t, w, protocol, data)
			intrude(t, w, protocol, websocket.AppendMaskedFrame(nil, websocket.Text, data, 0))
			intrude(t, w, protocol, websocket.AppendMaskedFrame(nil, websocket.Binary, data, 0))
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := neighbour.ws.Ping(ctx); err != nil {
			t.Fatal("the neighbour is not served:", err)
		}
		for len(neighbour.frames) > 0 { // what the intruder published to it
			<-neighbour.frames
		}
	})
}

// intrude connects, sends the bytes and the end of the stream, and waits for the gateway's.
func intrude(t *testing.T, w *world, protocol string, data []byte) {
	on := *w
	on.t = t
	c := on.dial()
	defer func() { _ = c.Close() }()
	request := upgrade("/connect/intruder?clean=true&expiry=0", "Sec-WebSocket-Protocol: "+protocol)
	_, _ = c.Write(append([]byte(request), data...)) // the gateway may end before all is written
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the gateway does not let go of the connection:", err)
	}
}
