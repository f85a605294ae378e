package clients

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/longline/longline/internal/wire/mqtt"
)

// MQTTConn is a connection of MQTT. Its reader is a goroutine, which ends when the connection is closed.
type MQTTConn struct {
	conn    net.Conn
	version mqtt.Version
	Packets chan *mqtt.Packet // closed after the last one
	done    chan struct{}     // closed by close
	once    sync.Once         // of close
	old     atomic.Pointer[old]
	Err     error // why packets was closed; read it after that
}

// ioTimeout bounds the time of one write, and that of an answer to CONNECT.
const ioTimeout = 20 * time.Second

// MaxInbound bounds a packet that the gateway sends.
const MaxInbound = 1 << 20

// NewMQTTConn starts the reader of a connection.
func NewMQTTConn(conn net.Conn, version mqtt.Version) *MQTTConn {
	c := &MQTTConn{conn: conn, version: version, Packets: make(chan *mqtt.Packet, 64), done: make(chan struct{})}
	go c.read()
	return c
}

func (c *MQTTConn) read() {
	defer c.ended()
	decoder := mqtt.Decoder{Version: c.version, MaxPacket: MaxInbound}
	var rest []byte
	piece := make([]byte, 4<<10)
	var offset int64 // of the next packet
	for {
		size, err := decoder.Size(rest)
		if err != nil {
			c.Err = fmt.Errorf("the gateway broke a rule: %w", err)
			return
		}
		if size == 0 || size > len(rest) {
			n, err := c.conn.Read(piece)
			if err != nil {
				c.Err = err
				return
			}
			rest = append(rest, piece[:n]...)
			continue
		}
		p := new(mqtt.Packet)
		if _, err := decoder.Decode(p, append([]byte(nil), rest[:size]...)); err != nil { // p keeps views of the copy
			c.Err = fmt.Errorf("the gateway broke a rule: %w", err)
			return
		}
		rest, offset = rest[size:], offset+int64(size)
		if o := c.old.Load(); o != nil {
			if p.Type != mqtt.Disconnect && p.Type != mqtt.Pingresp {
				o.got(offset, fmt.Sprintf("%v %s %.10q", p.Type, p.Topic, p.Payload))
			}
			continue
		}
		select {
		case c.Packets <- p:
		case <-c.done:
			return
		}
	}
}

func (c *MQTTConn) ended() {
	close(c.Packets)
	if o := c.old.Load(); o != nil {
		o.ended()
	}
}

// Supersede leaves the connection to the set until the gateway closes it. Nobody uses it any more.
func (c *MQTTConn) Supersede(s *Superseded, client string) {
	c.old.Store(s.add(client, c.conn.(syscall.Conn), c.conn.RemoteAddr()))
	go func() {
		for range c.Packets { // the reader may wait with one
		}
		c.Close(false)
		c.old.Load().ended() // perhaps the reader ended before it saw that
	}()
}

// Send writes packets in one piece.
func (c *MQTTConn) Send(packets ...*mqtt.Packet) (err error) {
	var b []byte
	for _, p := range packets {
		if b, err = mqtt.Append(b, c.version, p); err != nil {
			return err
		}
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(ioTimeout)); err != nil {
		return err
	}
	_, err = c.conn.Write(b)
	return err
}

// Close ends the connection; with reset the peer gets an RST instead of a FIN. Further calls do nothing.
func (c *MQTTConn) Close(reset bool) {
	c.once.Do(func() {
		if reset {
			cut(c.conn)
		}
		_ = c.conn.Close()
		close(c.done)
	})
}

// cut makes the peer get an RST when the connection is closed.
func cut(conn net.Conn) {
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
}
