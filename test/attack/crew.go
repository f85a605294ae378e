package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/websocket"
	"github.com/longline/longline/internal/wire/mqtt"
)

// maker is the process that makes an attack.
type maker struct {
	Attack  string        `arg:"" help:"Its name."`
	Limit   time.Duration `default:"1m" help:"How long it lasts, unless it is ended before (${default})."`
	targets `embed:""`
}

// Run attacks until the time is over.
func (m *maker) Run(ctx context.Context) error {
	a := find(m.Attack)
	if a == nil {
		return fmt.Errorf("there is no attack %q", m.Attack)
	}
	ctx, cancel := context.WithTimeout(ctx, m.Limit)
	defer cancel()
	end, _ := ctx.Deadline()
	c := &crew{targets: m.targets, end: end, tls: &tls.Config{
		InsecureSkipVerify: true, // an attacker does not mind
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}}
	c.run(ctx, a)
	return nil
}

// crew are the connections of one attack.
type crew struct {
	targets
	end time.Time // deadline of every connection
	tls *tls.Config
}

// run has every member make its connection again and again, all together at the attack's
// rate at most.
func (c *crew) run(ctx context.Context, a *attack) {
	turns := time.Tick(time.Duration(float64(time.Second) / a.starts))
	var members sync.WaitGroup
	for i := range a.conns {
		members.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-turns:
					_ = a.one(c, i) // it ends by the gateway's refusal, mostly
				case <-ctx.Done():
				}
			}
		})
	}
	members.Wait()
}

// dialTime is for how long an attacker waits for an accept.
const dialTime = 5 * time.Second

// dial connects from one of many addresses of this machine.
func (c *crew) dial(addr string, source int) (*net.TCPConn, error) {
	return c.dialFrom(addr, net.IPv4(127, 0, 1, byte(1+source%250)))
}

func (c *crew) dialFrom(addr string, source net.IP) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: source}, Timeout: dialTime}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), conn.SetDeadline(c.end)
}

// secure connects and shakes hands with TLS.
func (c *crew) secure(member int) (*tls.Conn, error) {
	tcp, err := c.dial(c.Devices, member)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(tcp, c.tls)
	if err := conn.Handshake(); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return conn, nil
}

// device is the id of a stolen device.
func device(member int) string { return "bad-" + strconv.Itoa(member) }

// key does for all handshakes: it is not a secret.
var key = websocket.NewHandshakeKey()

// request is the upgrade of a stolen device.
func (c *crew) request(member int, deflate bool) *websocket.ClientRequest {
	return &websocket.ClientRequest{
		Host:          c.Devices,
		Target:        "/connect?clean=true&expiry=0&device=" + device(member),
		Key:           key,
		Authorization: "Bearer " + c.Token,
		Deflate:       deflate,
	}
}

// upgraded connects as a stolen device that speaks JSON, or whatever it likes.
func (c *crew) upgraded(member int, deflate bool) (*tls.Conn, error) {
	conn, err := c.secure(member)
	if err != nil {
		return nil, err
	}
	req := c.request(member, deflate)
	if _, err = conn.Write(websocket.AppendRequest(nil, req)); err == nil {
		err = accepted(conn, req)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// accepted reads the answer to an upgrade. What comes behind it is thrown away.
func accepted(conn io.Reader, req *websocket.ClientRequest) error {
	answer := make([]byte, 0, 4096)
	for {
		n, err := conn.Read(answer[len(answer):cap(answer)])
		if err != nil {
			return err
		}
		answer = answer[:len(answer)+n]
		if used, _, err := websocket.ParseResponse(answer, req, websocket.Limits{}); used > 0 || err != nil {
			return err
		}
	}
}

// client is the CONNECT of a stolen device whose session ends with the connection.
func (c *crew) client(member int) *mqtt.Packet {
	return &mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{
		Clean: true, ClientID: device(member), KeepAlive: 60,
		HasUsername: true, Username: "token", HasPassword: true, Password: []byte(c.Token),
	}}
}

// connected connects by MQTT 5, and waits for the CONNACK.
func (c *crew) connected(member int) (net.Conn, error) {
	conn, err := c.dial(c.MQTT, member)
	if err != nil {
		return nil, err
	}
	if err = send(conn, c.client(member)); err == nil {
		err = granted(conn)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// granted reads a CONNACK, MQTT 5 §3.2: the reason is its fourth byte, as the properties of
// this gateway's take less than 128 bytes.
func granted(conn io.Reader) error {
	answer := make([]byte, 256)
	n, err := io.ReadAtLeast(conn, answer, 4)
	if err == nil && (n < 4 || answer[3] != byte(mqtt.Success)) {
		err = fmt.Errorf("CONNACK with reason %#x", answer[3])
	}
	return err
}

// send writes packets as one.
func send(conn io.Writer, packets ...*mqtt.Packet) error {
	_, err := conn.Write(encode(packets...))
	return err
}

// encode returns packets as MQTT 5 has them.
func encode(packets ...*mqtt.Packet) (b []byte) {
	for _, p := range packets {
		var err error
		if b, err = mqtt.Append(b, mqtt.V5, p); err != nil {
			panic(err) // the attack is written wrongly
		}
	}
	return b
}

// publication is one of a stolen device's.
func publication(topic string, payload []byte) *mqtt.Packet {
	return &mqtt.Packet{Type: mqtt.Publish, Topic: topic, Payload: payload, QoS: message.AtMostOnce}
}
