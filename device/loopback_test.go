package device_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
)

// loopback starts a gateway for the examples. It sends hello, acknowledges everything, calls
// "status" once, and sends a device's publications back to the device's own subscriptions. It
// returns the URL, and a function that stops it.
func loopback() (url string, stop func()) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.JSON.Name()}})
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		(&echo{ws: ws}).serve(context.Background())
	}))
	return strings.Replace(server.URL, "http", "ws", 1), server.Close
}

// echo is one connection of a loopback.
type echo struct {
	ws      *websocket.Conn
	filters []string
	lastID  uint64
}

func (e *echo) serve(ctx context.Context) {
	e.send(ctx, &wire.Packet{Op: wire.Hello, Hello: wire.Greeting{Session: "s-1", MaxPayload: 1 << 16}})
	e.send(ctx, &wire.Packet{Op: wire.Call, ID: 1, Method: "status"})
	for {
		_, frame, err := e.ws.Read(ctx)
		if err != nil {
			return
		}
		var p wire.Packet
		if wire.JSON.Decode(&p, frame, true) != nil {
			return
		}
		e.take(ctx, &p)
	}
}

func (e *echo) take(ctx context.Context, p *wire.Packet) {
	switch p.Op {
	case wire.Sub:
		for _, f := range p.Filters {
			e.filters = append(e.filters, strings.Clone(f))
		}
	case wire.Pub:
		e.bring(ctx, &p.Message)
	}
	if p.Op != wire.Ack && p.Op != wire.Reply && p.ID != 0 {
		e.send(ctx, &wire.Packet{Op: wire.Ack, ID: p.ID})
	}
}

func (e *echo) bring(ctx context.Context, m *message.Message) {
	if !slices.ContainsFunc(e.filters, func(f string) bool { return topic.Match(f, m.Topic) }) {
		return
	}
	e.lastID++
	back := &wire.Packet{Op: wire.Msg, ID: e.lastID}
	back.Message.Topic, back.Message.Payload = m.Topic, m.Payload
	back.Message.ContentType, back.Message.QoS = m.ContentType, m.QoS
	e.send(ctx, back)
}

func (e *echo) send(ctx context.Context, p *wire.Packet) {
	frame, err := wire.JSON.Append(nil, p)
	if err == nil {
		_ = e.ws.Write(ctx, websocket.MessageText, frame)
	}
}
