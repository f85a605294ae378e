package mqtt

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/topic"
	"github.com/longline/longline/internal/wire"
	"github.com/longline/longline/internal/wire/mqtt"
)

// opening is what the connection remembers until CONNECT is answered. It is owned, because the packet may be gone when
// the credentials are verified.
type opening struct {
	credentials *auth.Credentials
	named       bool // the URL names the device of the credentials
	assign      bool // the client named no device, and gets an ID
	respond     bool // the client asks for response information
	keepAlive   uint16
}

// connect begins the entrance for a CONNECT, MQTT 5 §3.1, 3.1.1 §3.1.
func (c *Device) connect(p *mqtt.Packet) error {
	srv := c.shard.server
	c.version = p.Connect.Version
	c.maxPacket, c.aliasMax = p.Properties.MaximumPacket, p.Properties.TopicAliasMaximum
	c.noReasons = p.Properties.Has(mqtt.PropRequestProblem) && !p.Properties.RequestProblem
	if p.Properties.Has(mqtt.PropAuthMethod) { // [MQTT-4.12.0-1]
		return &ending{wire.CloseUnauthorized.Because("no authentication method is supported"), mqtt.BadAuthenticationMethod}
	}
	o := c.more().opening
	if o == nil {
		o = &opening{credentials: credentials(c.Transport())}
		c.rare.opening = o
	}
	if err := o.name(&p.Connect, srv.Door.Config.Insecure); err != nil {
		return err
	}
	o.respond, o.keepAlive = p.Properties.RequestResponse, p.Connect.KeepAlive
	e := &door.Entrance{Conn: &c.Conn, Credentials: o.credentials, Options: optionsOf(p), Greet: c.greet}
	e.Begin()
	return nil
}

// credentials returns what a connection over TCP or TLS shows before CONNECT.
func credentials(conn *reactor.Conn) *auth.Credentials {
	return &auth.Credentials{
		Protocol:     subprotocol,
		Remote:       conn.RemoteAddr().Addr().Unmap(),
		Certificates: conn.PeerCertificates(),
	}
}

// draining returns the answer to a CONNECT while the gateway is drained.
func (srv *Server) draining() *ending {
	code := mqtt.ServerUnavailable
	if srv.Config.ServerReference != "" {
		code = mqtt.UseAnotherServer
	}
	return &ending{wire.CloseRestart, code}
}

// tokenUser is the user name of a client whose password is a bearer token. In MQTT 5 a password without a user name is
// a token as well.
const tokenUser = "token"

// name takes the device ID that the client claims, and its credentials.
func (o *opening) name(client *mqtt.Client, insecure bool) error {
	c := o.credentials
	o.assign = client.ClientID == "" && !o.named
	switch {
	case o.named && client.ClientID != "" && !names(client.ClientID, c.Device):
		return &ending{wire.CloseContract.Because("the client identifier is not the device of the URL"), mqtt.ClientIDNotValid}
	case o.assign && insecure: // [MQTT-3.1.3-6]
		c.Device = fmt.Sprintf("auto-%016x", rand.Uint64())
	case !o.named && !o.assign:
		var err error
		if c.Device, err = topic.DeviceID(client.ClientID); err != nil { // [MQTT-3.1.3-8]
			return &ending{wire.CloseContract.Because("client identifier: " + err.Error()), mqtt.ClientIDNotValid}
		}
	}
	switch {
	case client.HasPassword && (!client.HasUsername || client.Username == tokenUser):
		c.Bearer, c.HasBasic = string(client.Password), false
	case client.HasUsername:
		c.Username, c.Password, c.HasBasic = strings.Clone(client.Username), string(client.Password), true
		c.Bearer = ""
	}
	return nil
}

// names reports whether a client identifier stands for a device.
func names(client, device string) bool {
	id, err := topic.DeviceID(client)
	return err == nil && id == device
}

// optionsOf returns the session options of a CONNECT.
func optionsOf(p *mqtt.Packet) session.Options {
	o := session.Options{
		Clean:          p.Connect.Clean,
		ReceiveMaximum: p.Properties.ReceiveMaximum,
		NoRefusals:     p.Connect.Version < mqtt.V5,
		Will:           willOf(&p.Connect),
	}
	if !o.NoRefusals || o.Clean { // 3.1.1 §3.1.2.4: a clean session lasts as long as the connection
		expiry := seconds(p.Properties.SessionExpiry)
		o.Expiry = &expiry
	}
	return o
}

// willOf returns the will of a CONNECT, owned, or nil.
func willOf(c *mqtt.Client) *store.Will {
	if !c.HasWill {
		return nil
	}
	w, props := &c.Will, &c.Will.Properties
	m := message.Message{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain}
	takeProperties(&m, props)
	return &store.Will{Message: m.Clone(), Delay: seconds(props.WillDelay), Expiry: messageExpiry(props)}
}

// keepAlive returns the effective keep alive, in seconds. For a device of MQTT 5 it is at most the heartbeat timeout,
// and CONNACK says so [MQTT-3.2.2-21]. For one of 3.1.1 it is what the device asks for.
func (srv *Server) keepAlive(v mqtt.Version, asked uint16) uint16 {
	if v < mqtt.V5 {
		return asked
	}
	most := uint16(min(max(1, srv.Door.Config.HeartbeatTimeout/time.Second), math.MaxUint16))
	if asked == 0 {
		return most
	}
	return min(asked, most)
}

// greet sends CONNACK, MQTT 5 §3.2, 3.1.1 §3.2. It has no property whose default is true.
func (c *Device) greet(e *door.Entrance) error {
	srv, o := c.shard.server, c.rare.opening
	c.encoders = srv.encoders(c.version, c.carrier)
	c.keepAlive = srv.keepAlive(c.version, o.keepAlive)
	p := mqtt.Packet{Type: mqtt.Connack, SessionPresent: e.Resumed} // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
	props := &p.Properties
	if granted := c.Link().Expiry(); e.Options.Expiry != nil && granted != *e.Options.Expiry {
		props.SessionExpiry = uint32(granted / time.Second)
		props.Mark(mqtt.PropSessionExpiry)
	}
	props.ReceiveMaximum = uint16(min(srv.Door.Sessions.Config().Unanswered, math.MaxUint16))
	props.MaximumPacket = uint32(srv.Door.Config.MaxPayload)
	props.TopicAliasMaximum = uint16(srv.Config.TopicAliases)
	if o.assign { // [MQTT-3.2.2-16]
		props.AssignedClientID = e.Device
	}
	if c.keepAlive != o.keepAlive {
		props.ServerKeepAlive = c.keepAlive
	}
	if o.respond {
		props.ResponseInfo = replyTopic(e.Device)
	}
	if e.Missed > 0 {
		props.User = []message.Property{{Key: "missed", Value: strconv.FormatUint(e.Missed, 10)}}
	}
	if err := c.write(&p); err != nil { // no other packet may be sent first [MQTT-3.2.0-1]
		return &ending{wire.CloseContract.Because("CONNACK: " + err.Error()), mqtt.PacketTooLarge}
	}
	c.rare = nil
	e.Accepted("connected")
	c.armKeepAlive()
	return nil
}
