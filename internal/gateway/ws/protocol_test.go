package ws

import (
	"fmt"
	"testing"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
)

// Connections share the bytes of a class: two that need different ones must not meet in it.
func TestEncodersDoNotShareAClass(t *testing.T) {
	all, err := newProtocols([]string{"ocpp1.6", "ocpp2.0.1"}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	owners := make(map[int]string)
	for _, p := range all {
		for q, windows := range p.encoders {
			for w, e := range windows {
				name := fmt.Sprintf("%s, QoS %d, window %d", p.name, q, w)
				if other, taken := owners[e.Class()]; taken {
					t.Errorf("%s has the class of %s", name, other)
				}
				owners[e.Class()] = name
				if e.protocol != p || e.qos != message.QoS(q) || e.window != websocket.Window(w) {
					t.Errorf("%s has the encoder of another", name)
				}
			}
		}
	}
}
