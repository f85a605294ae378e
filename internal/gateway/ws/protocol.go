package ws

import (
	"fmt"
	"strings"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire"
)

// protocol is one subprotocol that devices may speak: a codec with the encoders of messages for it, one per QoS and
// compression window, or a dialect.
type protocol struct {
	name     string
	op       websocket.Opcode
	codec    wire.Codec                            // nil for a dialect
	encoders [2][websocket.FullWindow + 1]*encoder // by QoS, by window
	dialect  Dialect                               // nil for a codec
}

// Dialect is a subprotocol whose frames are not packets of internal/wire one by one, so that each connection has a Talk. It has calls
// and no messages: what a session's subscriptions match is dropped.
type Dialect interface {
	// Subprotocol is its name.
	Subprotocol() string
	// Talk begins with a connection that has its session. On the loop.
	Talk(d *Device) Talk
}

// Talk is what a connection of a Dialect says and hears. All methods are called on the loop.
type Talk interface {
	// Receive handles one message, which is borrowed. An error closes the connection.
	Receive(payload []byte, text bool) error
	// Call and Reply are those of session.Conn, on an open connection.
	Call(p *wire.Packet) (refused string)
	Reply(p *wire.Packet) (refused wire.Error)
	// End is called once when the connection ends or is about to.
	End()
}

// acks reports whether devices acknowledge what they get, and have calls: see session.Conn.
func (p *protocol) acks() bool { return p.dialect != nil || p.codec.Acks() }

// protocols are the protocols of a gateway.
type protocols []*protocol

// newProtocols makes the standard protocols, a raw one for each name, and the dialects.
func newProtocols(raw []string, dialects []Dialect, compressAbove int) (protocols, error) {
	var all protocols
	codecs := []wire.Codec{wire.JSON, wire.Protobuf}
	for _, name := range raw {
		codecs = append(codecs, wire.NewRaw(name))
	}
	for i, codec := range codecs {
		if all.find([]byte(codec.Name())) != nil {
			return nil, fmt.Errorf("subprotocol %q is named twice", codec.Name())
		}
		p := &protocol{name: codec.Name(), codec: codec, op: websocket.Binary}
		if codec.Text() {
			p.op = websocket.Text
		}
		for q := range p.encoders {
			for window := range p.encoders[q] {
				p.encoders[q][window] = &encoder{
					protocol: p,
					qos:      message.QoS(q),
					window:   websocket.Window(window),
					least:    compressAbove,
					class:    (i*len(p.encoders)+q)*len(p.encoders[q]) + window,
				}
			}
		}
		all = append(all, p)
	}
	for _, d := range dialects {
		if all.find([]byte(d.Subprotocol())) != nil {
			return nil, fmt.Errorf("the gateway itself speaks subprotocol %q: it cannot be raw", d.Subprotocol())
		}
		all = append(all, &protocol{name: d.Subprotocol(), op: websocket.Text, dialect: d})
	}
	return all, nil
}

// find returns the protocol with that name, in any case, or nil.
func (all protocols) find(name []byte) *protocol {
	for _, p := range all {
		if strings.EqualFold(p.name, string(name)) {
			return p
		}
	}
	return nil
}

// choose returns the first protocol that the device offers and the gateway speaks, and the name by which the device
// offered it. For a device that offers none, it returns the default.
func (srv *Server) choose(req *websocket.Request) (p *protocol, name string, err *websocket.HTTPError) {
	offered := false
	for name := range req.Protocols {
		offered = true
		if p := srv.protocols.find(name); p != nil {
			return p, string(name), nil
		}
	}
	if !offered {
		return srv.normal, "", nil
	}
	known := srv.protocols.names()
	if len(srv.Other.Names) > 0 {
		known += ", " + srv.Other.Names[0]
	}
	return nil, "", &websocket.HTTPError{Status: 400, Reason: "The gateway speaks none of the offered subprotocols. It speaks " + known + "."}
}

// names returns the names, for errors.
func (all protocols) names() string {
	list := make([]string, len(all))
	for i, p := range all {
		list[i] = p.name
	}
	return strings.Join(list, ", ")
}

// encoder makes the frame of a message for a device: the same bytes for every connection of its class.
type encoder struct {
	protocol *protocol
	qos      message.QoS
	window   websocket.Window
	least    int // smallest message that is compressed, in bytes
	class    int
}

// Class implements message.Encoder.
func (e *encoder) Class() int { return e.class }

// Encode implements message.Encoder. A message that the protocol cannot express is encoded as nothing.
func (e *encoder) Encode(m *message.Message) []byte {
	p := wire.Packet{Op: wire.Msg}
	if e.qos > message.AtMostOnce {
		p.ID = m.ID
	}
	p.Message.Topic = m.Topic
	p.Message.Payload = m.Payload
	p.Message.ContentType = m.ContentType
	p.Message.Properties = m.Properties
	p.Message.Time = m.Time
	p.Message.Retain = m.Retain
	p.Message.QoS = e.qos
	body, err := e.protocol.codec.Append(nil, &p)
	if err != nil {
		return nil
	}
	return e.frame(make([]byte, 0, len(body)+websocket.MaxHeader), body)
}

// frame appends body to dst as one frame.
func (e *encoder) frame(dst, body []byte) []byte {
	return websocket.AppendCompressed(dst, e.protocol.op, body, e.window, e.least)
}
