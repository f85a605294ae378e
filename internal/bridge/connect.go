package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"syscall"
	"time"

	"github.com/longline/longline/internal/wire/mqtt"
)

// Session says which session a connection wants at the broker.
type Session struct {
	ClientID string

	// Kept says that the session outlives the connection, in MQTT 5 for Expiry. Any other session begins and ends with its connection.
	Kept   bool
	Expiry time.Duration

	// Unanswered is how many publications of QoS 1 the broker may send before one of them is acknowledged. 3.1.1 cannot say so.
	Unanswered int

	// OnPublish gets a publication, a view that is valid until OnPublish returns. The connection's goroutine calls it, and reads on when it returns:
	// so it may wait, and the broker with it. Meanwhile the broker is not asked whether it is there. Nil for a session without subscriptions.
	OnPublish func(c *Conn, p *mqtt.Packet)

	// OnOversized is called like OnPublish, for a publication that is larger than Config.MaxPacket. It is to be acknowledged like others. Nil for a
	// session without subscriptions.
	OnOversized func(c *Conn, o mqtt.Oversized)
}

// Limits are what a broker can do.
type Limits struct {
	Unanswered int // publications of QoS 1 that it takes before it acknowledges one
	Packet     int // bytes of the largest packet that it takes
	QoS1       bool
	Retain     bool
}

// Refusal is a broker's reason to refuse or to end a connection.
type Refusal struct {
	Code mqtt.Code
	Text string // the broker's own words, may be empty
}

func (r *Refusal) Error() string { return words("the broker refuses the connection", r.Code, r.Text) }

// words returns what is wrong, with the broker's code and, if it has any, its own words.
func words(what string, code mqtt.Code, text string) string {
	if text == "" {
		return what + ": " + code.String()
	}
	return fmt.Sprintf("%s: %s: %q", what, code, text)
}

// ForGood reports whether err says that the broker will refuse until somebody changes its configuration, or that of the gateway.
func ForGood(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		return errors.Is(err, errNoQoS1)
	}
	switch r.Code {
	case mqtt.UnsupportedProtocolVersion, mqtt.ClientIDNotValid, mqtt.BadUsernameOrPassword, mqtt.NotAuthorized, mqtt.Banned,
		mqtt.BadAuthenticationMethod:
		return true
	}
	return false
}

var errNoQoS1 = errors.New("the broker does not take messages of QoS 1")

// bridgeBit in the protocol level of a CONNECT of 3.1.1 says that the client is a bridge: it gets publications with the retain flag of their
// publishers, as MQTT 5 has it (retain as published), and not what it published itself. It is no part of MQTT: Mosquitto and some others know it,
// other brokers refuse it as a version, or close the connection.
const bridgeBit = 0x80

// Connect makes a connection, within Config.Timeout. Its goroutines run until Close. It is closed as well if the broker ends it, or does not keep its time.
func (b *Broker) Connect(ctx context.Context, s Session) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, b.config.Timeout)
	defer cancel()
	socket, err := b.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	c, err := b.open(socket, s)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = socket.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("the broker does not accept the connection: %w", context.Cause(ctx))
		}
		return nil, err
	}
	c.start()
	return c, nil
}

// open exchanges CONNECT and CONNACK.
func (b *Broker) open(socket net.Conn, s Session) (*Conn, error) {
	c := &Conn{
		socket: socket, broker: b, session: s, began: time.Now(),
		decoder: mqtt.Decoder{Version: b.version, MaxPacket: b.config.MaxPacket},
	}
	hello, asBridge, err := b.hello(s)
	if err != nil {
		return nil, err
	}
	if _, err := socket.Write(hello); err != nil {
		return nil, err
	}
	var answer mqtt.Packet
	err = c.readPacket(&answer)
	switch {
	case b.tookBridge(asBridge, &answer, err):
		return nil, errors.New("the broker refuses a bridge: the next connection is that of a client")
	case err != nil:
		return nil, err
	case answer.Type != mqtt.Connack:
		return nil, fmt.Errorf("the broker sent %s instead of CONNACK", answer.Type)
	case answer.Reason != mqtt.Success:
		return nil, &Refusal{answer.Reason, string([]byte(answer.Properties.ReasonString))}
	}
	c.Resumed = answer.SessionPresent
	return c, c.agree(&answer.Properties)
}

// hello returns a CONNECT, and whether it says that the client is a bridge.
func (b *Broker) hello(s Session) (packet []byte, asBridge bool, err error) {
	p := mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{
		ClientID: s.ClientID, Clean: !s.Kept, KeepAlive: uint16(b.config.KeepAlive / time.Second),
		HasUsername: b.config.Username != "", Username: b.config.Username,
	}}
	if password := b.password(); len(password) > 0 {
		p.Connect.HasPassword, p.Connect.Password = true, password
	}
	if b.version == mqtt.V5 {
		p.Properties.MaximumPacket = uint32(b.config.MaxPacket)
		p.Properties.ReceiveMaximum = uint16(min(s.Unanswered, math.MaxUint16))
		if s.Kept {
			p.Properties.SessionExpiry = uint32(min(s.Expiry/time.Second, math.MaxUint32))
		}
	}
	packet, err = mqtt.Append(nil, b.version, &p)
	if asBridge = b.version == mqtt.V4 && !b.plain.Load(); asBridge && err == nil {
		const level = len("\x00\x04MQTT") // from the end of the fixed header
		packet[headerSize(packet)+level] |= bridgeBit
	}
	return packet, asBridge, err
}

// tookBridge learns from the answer to a CONNECT whether the broker knows bridges. It reports whether the CONNECT has to be repeated without
// saying that its client is one.
func (b *Broker) tookBridge(asBridge bool, answer *mqtt.Packet, err error) (again bool) {
	cut := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
	switch {
	case b.version != mqtt.V4 || b.bridges.Load():
	case asBridge && err == nil && answer.Reason == mqtt.Success:
		b.bridges.Store(true)
	case asBridge && (cut || err == nil && answer.Reason == mqtt.UnsupportedProtocolVersion):
		b.plain.Store(true)
		return true
	case cut:
		b.plain.Store(false) // it was not for that
	}
	return false
}

// headerSize returns the size of a packet's fixed header, §2.1.1.
func headerSize(packet []byte) int {
	n := 2
	for packet[n-1] >= 0x80 {
		n++
	}
	return n
}

// mostUnanswered bounds how many publications a connection sends ahead of their acknowledgements, whatever the broker takes.
const mostUnanswered = 1000

// agree takes the limits of a CONNACK, §3.2.2.3. Those of 3.1.1 are empty.
func (c *Conn) agree(p *mqtt.Properties) error {
	c.Limits = Limits{Unanswered: mostUnanswered, Packet: math.MaxInt, QoS1: true, Retain: true}
	if p.ReceiveMaximum > 0 {
		c.Limits.Unanswered = min(int(p.ReceiveMaximum), mostUnanswered)
	}
	if p.MaximumPacket > 0 {
		c.Limits.Packet = int(p.MaximumPacket)
	}
	c.Limits.QoS1 = !p.Has(mqtt.PropMaximumQoS) || p.MaximumQoS > 0
	c.Limits.Retain = !p.Has(mqtt.PropRetainAvailable) || p.RetainAvailable
	c.keepAlive = c.broker.config.KeepAlive
	if p.Has(mqtt.PropServerKeepAlive) {
		c.keepAlive = time.Duration(p.ServerKeepAlive) * time.Second
	}
	if !c.Limits.QoS1 {
		return errNoQoS1
	}
	return nil
}
