package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/session"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/store/storetest"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// settings of a world. The zero value has the defaults.
type settings struct {
	gateway  Config
	hooks    hooks
	router   router.Config
	sessions session.Config
	store    store.Options
	durable  storetest.Whole // instead of a store in memory, if it is not nil
	secure   bool            // credentials are asked for
}

// world is a node in one process: a store in memory, a router, sessions, and a gateway on
// a free port.
type world struct {
	t        testing.TB
	router   *router.Router
	sessions *session.Manager
	gateway  *Gateway
	presence *router.Inbox
	events   []*message.Message // taken from presence and not looked at yet
}

// newWorld starts a node that ends with the test.
func newWorld(t testing.TB, s settings) *world {
	t.Helper()
	w := &world{t: t}
	memory := s.durable
	if memory == nil {
		memory = store.NewMemory(s.store)
	}
	w.router = router.New(s.router, memory)
	var err error
	if w.sessions, err = session.NewManager(s.sessions, w.router, memory, memory); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sessions.Close)
	w.presence = w.subscribe(session.PresencePrefix + "+")
	s.gateway.Listen, s.gateway.Insecure = "127.0.0.1:0", !s.secure
	if s.gateway.Loops == 0 {
		s.gateway.Loops = 2
	}
	if w.gateway, err = start(s.gateway, s.hooks, w.router, w.sessions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.gateway.Close)
	return w
}

// subscribe opens a backend subscription of QoS 1 for the rest of the test.
func (w *world) subscribe(filters ...string) *router.Inbox {
	w.t.Helper()
	b := w.router.OpenInbox(router.InboxConfig{}, filters, message.AtLeastOnce, false)
	w.t.Cleanup(func() { b.Close(nil) })
	return b
}

// take returns the next n messages of a subscription.
func (w *world) take(b *router.Inbox, n int) (all []*message.Message) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for len(all) < n {
		batch, _, err := b.Take(ctx, nil)
		if err != nil {
			w.t.Fatalf("%d of %d messages came: %v", len(all), n, err)
		}
		all = append(all, batch...)
	}
	return all
}

// awaitPresence takes presence events up to the one that says that the device went online
// or offline, and returns it.
func (w *world) awaitPresence(device string, online bool) session.Presence {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for {
		for len(w.events) == 0 {
			var err error
			if w.events, _, err = w.presence.Take(ctx, nil); err != nil {
				w.t.Fatalf("no event says that %s is online=%v: %v", device, online, err)
			}
		}
		var e session.Presence
		if err := json.Unmarshal(w.events[0].Payload, &e); err != nil {
			w.t.Fatal(err)
		}
		w.events = w.events[1:]
		if e.Device == device && e.Online == online {
			return e
		}
	}
}

// peer is a device's end of a WebSocket connection, by a client that is not ours.
type peer struct {
	t      testing.TB
	ws     *coder.Conn
	tcp    net.Conn     // below ws: for bytes that no client would send, and for cuts
	frames chan []byte  // what came; closed when the connection has ended
	end    error        // why; set before frames is closed
	status string       // of a refused handshake, with the body
	header http.Header  // of the handshake's answer
	text   bool         // kind of the frames sent
	kinds  map[bool]int // number of frames received, by text
}

// connect opens a WebSocket connection. When the gateway refuses, the peer has only a
// status.
func (w *world) connect(target string, subprotocols ...string) *peer {
	w.t.Helper()
	return w.connectWith(nil, target, subprotocols...)
}

// connectWith also sends a header.
func (w *world) connectWith(header http.Header, target string, subprotocols ...string) *peer {
	w.t.Helper()
	p := &peer{t: w.t, frames: make(chan []byte, 1024), text: true, kinds: map[bool]int{}}
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		p.tcp, err = new(net.Dialer).DialContext(ctx, network, addr)
		return p.tcp, err
	}}
	var response *http.Response
	var err error
	p.ws, response, err = coder.Dial(ctx, "ws://"+w.gateway.Addr().String()+target, &coder.DialOptions{
		HTTPClient:   &http.Client{Transport: transport},
		Subprotocols: subprotocols,
		HTTPHeader:   header,
	})
	switch {
	case response == nil:
		w.t.Fatalf("no answer to the handshake: %v", err)
	case err != nil:
		body, _ := io.ReadAll(response.Body)
		p.status = strings.TrimSpace(response.Status[:3] + " " + string(body))
		p.header = response.Header
		return p
	}
	p.header = response.Header
	p.ws.SetReadLimit(-1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.read()
	}()
	w.t.Cleanup(func() {
		_ = p.ws.CloseNow()
		for range p.frames { // what nobody wanted any more
		}
		<-ended
	})
	return p
}

// read runs until the connection ends.
func (p *peer) read() {
	defer close(p.frames)
	for {
		kind, frame, err := p.ws.Read(context.Background())
		if err != nil {
			p.end = err
			return
		}
		p.kinds[kind == coder.MessageText]++
		p.frames <- frame
	}
}

// send writes one frame of the peer's kind.
func (p *peer) send(frame []byte) {
	p.t.Helper()
	kind := coder.MessageBinary
	if p.text {
		kind = coder.MessageText
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if err := p.ws.Write(ctx, kind, frame); err != nil {
		p.t.Fatalf("write %q: %v", frame, err)
	}
}

// say sends JSON packets.
func (p *peer) say(packets ...string) {
	p.t.Helper()
	for _, packet := range packets {
		p.send([]byte(packet))
	}
}

// next returns the next frame that came.
func (p *peer) next() []byte {
	p.t.Helper()
	select {
	case frame, ok := <-p.frames:
		if !ok {
			p.t.Fatalf("the connection has ended: %v", p.end)
		}
		return frame
	case <-time.After(patience):
		p.t.Fatal("nothing came")
		return nil
	}
}

// quiet fails when a frame has come that nobody expected. The first of two pings can be
// answered in the middle of a turn of the loop, before what was posted to it.
func (p *peer) quiet() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for range 2 {
		if err := p.ws.Ping(ctx); err != nil {
			p.t.Fatalf("ping: %v", err)
		}
	}
	select {
	case frame, ok := <-p.frames:
		if !ok {
			p.t.Fatalf("the connection has ended: %v", p.end)
		}
		p.t.Fatalf("unexpected frame %q", frame)
	default:
	}
}

// closed returns the close frame with which the gateway ended the connection. Frames
// before it are passed over.
func (p *peer) closed() coder.CloseError {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case _, ok := <-p.frames:
			if ok {
				continue
			}
			var e coder.CloseError
			if !errors.As(p.end, &e) {
				p.t.Fatalf("ended without a close frame: %v", p.end)
			}
			return e
		case <-timeout:
			p.t.Fatal("the connection did not end")
		}
	}
}
