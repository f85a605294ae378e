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

// maker is the command of the process that makes an attack.
type maker struct {
	Attack  string        `arg:"" help:"Name of the attack."`
	Limit   time.Duration `default:"1m" help:"Longest time of the attack (${default})."`
	targets `embed:""`
}

// Run makes the attack until the time is over.
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

// crew is the connections of one attack.
type crew struct {
	targets
	end   time.Time // deadline of every connection
	tls   *tls.Config
	lives atomic.Uint64 // devices that only one connection used
}

// newCrew returns a crew that attacks until ctx ends. ctx must have a deadline.
func newCrew(ctx context.Context, t targets) *crew {
	end, _ := ctx.Deadline()
	return &crew{targets: t, end: end, tls: &tls.Config{
		InsecureSkipVerify: true, // an attacker does not care
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}}
}

// run makes every member connect again and again, all of them together at most at the load's
// rate.
func (c *crew) run(ctx context.Context, l *load) {
	turns := time.Tick(time.Duration(float64(time.Second) / l.starts))
	var members sync.WaitGroup
	for i := range l.conns {
		members.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-turns:
					_ = l.one(c, i) // mostly it ends with the gateway's refusal
				case <-ctx.Done():
				}
			}
		})
	}
	members.Wait()
}

// dialTime is how long an attacker waits for an accept.
const dialTime = 5 * time.Second

// dial connects from one of many loopback addresses.
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

// secure connects with TLS.
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

// device returns the id of a stolen device.
func device(member int) string { return "bad-" + strconv.Itoa(member) }

// key is the key of all handshakes; it is not a secret.
var key = websocket.NewHandshakeKey()

// request returns the upgrade request of a stolen device.
func (c *crew) request(member int, deflate bool) *websocket.ClientRequest {
	return &websocket.ClientRequest{
		Host:          c.Devices,
		Target:        "/connect?clean=true&expiry=0&device=" + device(member),
		Key:           key,
		Authorization: "Bearer " + c.Token,
		Deflate:       deflate,
	}
}

// upgraded connects as a stolen device of the JSON protocol, which may then send any bytes.
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

// accepted reads the answer to an upgrade, and throws away what follows it.
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
