// Package mqtt tests the gateway against the two MQTT specifications. Every scenario runs against
// a gateway of its own, in MQTT 3.1.1 and in MQTT 5, over TCP and over WebSocket, with a client
// that only reads and writes packets. docs/mqtt.md says which test checks which statement.
package mqtt

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/longline/longline/internal/gateway"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/wire/mqtt"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

// world is a gateway and the way in which a scenario talks to it.
type world struct {
	*testing.T
	version   mqtt.Version
	websocket bool // otherwise TCP
	gateway   *gateway.Gateway
	sessions  *session.Manager
}

// settings of a world's gateway. The zero value has the defaults.
type settings struct {
	gateway  gateway.Config
	sessions session.Config
	store    store.Options
}

// newWorld starts a gateway that ends with the test.
func newWorld(t *testing.T, v mqtt.Version, overWebSocket bool, s settings) *world {
	t.Helper()
	w := &world{T: t, version: v, websocket: overWebSocket}
	memory := store.NewMemory(s.store)
	r := router.New(router.Config{}, memory)
	var err error
	if w.sessions, err = session.NewManager(s.sessions, r, memory, memory); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sessions.Close)
	s.gateway.Listen, s.gateway.MQTT.Listen = "127.0.0.1:0", "127.0.0.1:0"
	s.gateway.Insecure, s.gateway.Loops = true, 2
	if w.gateway, err = gateway.Start(s.gateway, r, w.sessions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.gateway.Close)
	return w
}

// each runs a scenario in both versions over both carriers.
func each(t *testing.T, scenario func(w *world)) {
	t.Helper()
	eachWith(t, settings{}, scenario, mqtt.V4, mqtt.V5)
}

// only runs a scenario of one version over both carriers.
func only(t *testing.T, v mqtt.Version, scenario func(w *world)) {
	t.Helper()
	eachWith(t, settings{}, scenario, v)
}

func eachWith(t *testing.T, s settings, scenario func(w *world), versions ...mqtt.Version) {
	t.Helper()
	t.Parallel()
	for _, v := range versions {
		for _, overWebSocket := range []bool{false, true} {
			name := fmt.Sprintf("%s/%s", map[mqtt.Version]string{3: "3.1", 4: "3.1.1", 5: "5"}[v],
				map[bool]string{false: "tcp", true: "websocket"}[overWebSocket])
			t.Run(name, func(t *testing.T) { scenario(newWorld(t, v, overWebSocket, s)) })
		}
	}
}

// dial opens a connection without sending anything on it.
func (w *world) dial() *client {
	w.Helper()
	c := &client{world: w, version: w.version, decoder: mqtt.Decoder{Version: w.version}}
	if w.websocket {
		c.conn = w.upgrade("mqtt")
	} else {
		c.conn = w.tcp()
	}
	w.Cleanup(c.cut)
	return c
}

func (w *world) tcp() net.Conn {
	w.Helper()
	conn, err := net.DialTimeout("tcp", w.gateway.MQTTAddr().String(), patience)
	if err != nil {
		w.Fatal(err)
	}
	return conn
}

// upgrade opens a WebSocket connection as a stream of bytes in binary frames.
func (w *world) upgrade(subprotocol string) net.Conn {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.Cleanup(cancel)
	ws, answer, err := websocket.Dial(ctx, "ws://"+w.gateway.Addr().String()+"/mqtt", &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Subprotocols: []string{subprotocol},
	})
	if err != nil {
		w.Fatal(err)
	}
	if got := answer.Header.Get("Sec-WebSocket-Protocol"); got != subprotocol { // [MQTT-6.0.0-4]
		w.Fatalf("the gateway chose %q of %q", got, subprotocol)
	}
	ws.SetReadLimit(-1)
	return &socket{websocket.NetConn(ctx, ws, websocket.MessageBinary), ws}
}

// socket is a WebSocket connection whose Close cuts the TCP connection.
type socket struct {
	net.Conn
	ws *websocket.Conn
}

func (s *socket) Close() error { return s.ws.CloseNow() }

// Read returns io.EOF for every end of the connection.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if websocket.CloseStatus(err) != -1 {
		err = io.EOF
	}
	return n, err
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
