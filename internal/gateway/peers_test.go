package gateway

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/gateway/door"
	"github.com/longline/longline/internal/reactor"
	"github.com/longline/longline/internal/session"
)

// A loop that stands keeps a listing no longer than its context lasts.
func TestPeersOfAPage(t *testing.T) {
	w := newWorld(t, settings{})
	const devices = 40
	for i := range devices {
		w.greeted(fmt.Sprintf("/connect/d%02d", i))
	}
	conns := w.conns()
	byLoop := map[*reactor.Loop][]session.Conn{}
	for _, c := range conns {
		loop := c.(door.Handler).Base().Transport().Loop()
		byLoop[loop] = append(byLoop[loop], c)
	}
	if all := w.gateway.Peers(t.Context(), conns); known(all) != devices {
		t.Errorf("%d of %d peers are known", known(all), devices)
	}
	standing := conns[0].(door.Handler).Base().Transport().Loop()
	release := make(chan struct{})
	standing.Post(reactor.TaskFunc(func(*reactor.Loop) { <-release }))
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if all := w.gateway.Peers(ctx, byLoop[standing]); known(all) != 0 || ctx.Err() == nil {
		t.Errorf("%d peers are known of a loop that stands", known(all))
	}
	delete(byLoop, standing)
	for _, its := range byLoop {
		if all := w.gateway.Peers(t.Context(), its); known(all) != len(its) {
			t.Errorf("%d of %d peers are known of a loop that runs", known(all), len(its))
		}
	}
}

func known(all []devices.Peer) (n int) {
	for _, p := range all {
		if p.Addr.IsValid() && p.Protocol != "" {
			n++
		}
	}
	return n
}

// conns are the connections of all devices.
func (w *world) conns() (all []session.Conn) {
	w.t.Helper()
	local := w.sessions.Local(func(_ context.Context, conns []session.Conn) []devices.Peer {
		all = conns
		return nil
	})
	if _, err := local.List(w.t.Context(), devices.Page{State: devices.Online, Limit: 1000}); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// peer is what a listing shows of a device's connection.
func (w *world) peer(device string) devices.Peer {
	w.t.Helper()
	info, err := w.sessions.Local(w.gateway.Peers).Get(w.t.Context(), device)
	if err != nil {
		w.t.Fatal(err)
	}
	return info.Peer
}
