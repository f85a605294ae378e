//go:build servers

package balancers

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
)

// patience is how long a device waits for its connection.
const patience = 20 * time.Second

// A device has connected through the balancer.
type device struct {
	name  string
	local netip.AddrPort // its own end
	close func()
}

// connect connects a device by WebSocket, or if its name begins with mqtt, by MQTT 3.1.1.
func connect(t *testing.T, name string, ports ports) (*device, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d := &device{name: name}
	var err error
	if strings.HasPrefix(name, "mqtt") {
		err = d.mqtt(ctx, ports.mqtt)
	} else {
		err = d.websocket(ctx, ports.websocket)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.Cleanup(d.close)
	return d, nil
}

func (d *device) websocket(ctx context.Context, port int) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			d.local = netip.MustParseAddrPort(c.LocalAddr().String())
		}
		return c, err
	}}
	c, _, err := coder.Dial(ctx, fmt.Sprintf("ws://127.0.0.1:%d/connect/%s", port, d.name), &coder.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return err
	}
	d.close = func() { _ = c.CloseNow() }
	if _, _, err = c.Read(ctx); err != nil { // hello
		d.close()
	}
	return err
}

// mqtt sends CONNECT with Clean Session and without a keep-alive, and expects a CONNACK that accepts (3.1.1 §3.1, §3.2).
func (d *device) mqtt(ctx context.Context, port int) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	d.local = netip.MustParseAddrPort(c.LocalAddr().String())
	d.close = func() { _ = c.Close() }
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	packet := append([]byte{0x10, byte(12 + len(d.name)), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, byte(len(d.name))}, d.name...)
	answer := make([]byte, 4)
	if _, err = c.Write(packet); err == nil {
		_, err = io.ReadFull(c, answer)
	}
	if err == nil && answer[3] != 0 {
		err = fmt.Errorf("refused with %d", answer[3])
	}
	if err != nil {
		d.close()
	}
	return err
}
