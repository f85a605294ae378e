package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/longline/longline/internal/websocket"
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
	newCrew(ctx, m.targets).run(ctx, &a.load)
	return nil
}

// crew are the connections of one attack.
type crew struct {
	targets
	end   time.Time // deadline of every connection
	tls   *tls.Config
	lives atomic.Uint64 // devices that were one connection's alone
}

// newCrew makes a crew that is there until ctx ends, which has a deadline.
func newCrew(ctx context.Context, t targets) *crew {
	end, _ := ctx.Deadline()
	return &crew{targets: t, end: end, tls: &tls.Config{
		InsecureSkipVerify: true, // an attacker does not mind
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}}
}

// run has every member make its connection again and again, all together at the load's
// rate at most.
func (c *crew) run(ctx context.Context, l *load) {
	turns := time.Tick(time.Duration(float64(time.Second) / l.starts))
	var members sync.WaitGroup
	for i := range l.conns {
		members.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-turns:
					_ = l.one(c, i) // it ends by the gateway's refusal, mostly
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
