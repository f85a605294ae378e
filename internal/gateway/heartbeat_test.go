package gateway

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/websocket"
)

// masked makes a text frame of a device.
func masked(payload string) []byte {
	return websocket.AppendMaskedFrame(nil, websocket.Text, []byte(payload), websocket.NewKey())
}

// rawDevice connects a device that does only what the test does: it answers no ping. The
// reader is behind the handshake.
func (w *world) rawDevice(device string) (net.Conn, *bufio.Reader) {
	w.t.Helper()
	c := w.dial()
	if _, err := io.WriteString(c, upgrade("/connect/"+device)); err != nil {
		w.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = response.Body.Close() // there is none
	if response.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatal(response.Status)
	}
	return c, r
}

// frames calls yield for every frame of the gateway until it returns false or the stream
// ends.
func frames(r io.Reader, yield func(websocket.Event) bool) error {
	var reader websocket.Reader
	reader.Init(&websocket.Config{Client: true}, false)
	defer reader.Release()
	buf, have := make([]byte, 64<<10), 0
	for {
		n, err := r.Read(buf[have:])
		if err != nil {
			return err
		}
		have += n
		used := 0
		for {
			n, ev, err := reader.Next(buf[used:have])
			used += n
			if err != nil {
				return err
			}
			if ev.Op == 0 {
				break
			}
			if !yield(ev) {
				return nil
			}
		}
		have = copy(buf, buf[used:have])
	}
}

const (
	shortBeat    = 300 * time.Millisecond
	shortTimeout = 900 * time.Millisecond
)

func quickWorld(t *testing.T) *world {
	return newWorld(t, settings{gateway: Config{Heartbeat: shortBeat, HeartbeatTimeout: shortTimeout}})
}

// deafen has the kernel drop whatever arrives at a socket, acknowledgements included, as
// when the peer's link is cut: nothing comes back, no FIN and no RST.
func deafen(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	if err := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	}); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Devices that fall silent are found: one whose program hangs, and one whose link is cut
// so that its peer never hears of it.
func TestSilentDevicesAreToldOffline(t *testing.T) {
	w := quickWorld(t)
	silence := map[string]func(net.Conn){
		"hung": func(net.Conn) {},
		"cut":  func(c net.Conn) { deafen(t, c) },
	}
	for device, fall := range silence {
		c, _ := w.rawDevice(device)
		w.awaitPresence(device, true)
		fall(c)
		start := time.Now()
		gone := w.awaitPresence(device, false)
		if took := time.Since(start); gone.Reason != "heartbeat_lost" || took < shortTimeout/2 || took > 3*shortTimeout {
			t.Errorf("%s: offline because of %q after %v, want heartbeat_lost after %v", device, gone.Reason, took, shortTimeout)
		}
		if info, _ := w.sessions.Get(device); info.Online {
			t.Errorf("%s: the session is still on line", device)
		}
	}
}

// The device is told why, if it can still hear.
func TestHungDeviceIsClosedWithItsCode(t *testing.T) {
	w := quickWorld(t)
	_, r := w.rawDevice("hung")
	var ops []websocket.Opcode
	var code uint16
	err := frames(r, func(ev websocket.Event) bool {
		ops, code = append(ops, ev.Op), ev.Code
		return true
	})
	if want := []websocket.Opcode{websocket.Text, websocket.Ping, websocket.Close}; !slices.Equal(ops, want) || code != 4001 || !errors.Is(err, io.EOF) {
		t.Errorf("frames %v, code %d, %v; want %v, 4001, and the end of the stream", ops, code, err, want)
	}
}

// Any byte is life, even a part of a frame; a pong is too.
func TestAnyByteIsLife(t *testing.T) {
	w := quickWorld(t)
	pong := websocket.AppendMaskedFrame(nil, websocket.Pong, nil, websocket.NewKey())
	frame := masked(`{"op":"pub","id":1,"topic":"t","payload":1,"qos":1}`)
	trickle, r := w.rawDevice("trickle")
	ponging, pr := w.rawDevice("ponging")
	ended := make(chan error, 1)
	go func() {
		ended <- frames(pr, func(ev websocket.Event) bool {
			if ev.Op == websocket.Ping {
				_, _ = ponging.Write(pong)
			}
			return ev.Op != websocket.Close
		})
	}()
	beat := time.NewTicker(shortTimeout / 4)
	defer beat.Stop()
	for _, b := range frame[:12] { // 12 quarters: three timeouts
		<-beat.C
		if _, err := trickle.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := trickle.Write(frame[12:]); err != nil {
		t.Fatal(err)
	}
	acked := false
	if err := frames(r, func(ev websocket.Event) bool {
		acked = ev.Op == websocket.Text && string(ev.Payload) == `{"op":"ack","id":1}`
		return !acked && ev.Op != websocket.Close
	}); err != nil || !acked {
		t.Errorf("the frame that came in pieces was not answered: %v", err)
	}
	select {
	case err := <-ended:
		t.Errorf("the device that answers pings was let go: %v", err)
	default:
	}
}

// Pings of devices that connected at the same moment are spread over a tenth of the heartbeat.
func TestPingsComeInNoWave(t *testing.T) {
	const devices, beat, parts = 200, 4 * time.Second, 8
	w := newWorld(t, settings{gateway: Config{Heartbeat: beat}})
	for i := range devices {
		w.rawDevice("d" + strconv.Itoa(i))
	}
	var mu sync.Mutex
	var in [parts]int // devices that are pinged in each part of that time
	w.gateway.group.Each(func(l *reactor.Loop) {
		mu.Lock()
		defer mu.Unlock()
		l.Handlers(func(h reactor.Handler) bool {
			later := door.HandlerOf(h).Base().HeartbeatAfter() - beat
			if later < 0 || later >= beat/10 {
				t.Errorf("a ping comes %v after the heartbeat", later)
				return false
			}
			in[later*parts/(beat/10)]++
			return true
		})
	})
	sum := 0
	for _, n := range in {
		sum += n
		if n > devices/parts*3 {
			t.Errorf("%d of %d pings come in an eighth of the time: %v", n, devices, in)
		}
	}
	if sum != devices {
		t.Errorf("%d devices, want %d", sum, devices)
	}
}
