package gateway

import (
	"context"
	"fmt"
	"testing"
	"time"

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
	conns := make([]session.Conn, devices)
	byLoop := map[*reactor.Loop][]session.Conn{}
	for i, info := range w.sessions.List("d", "", session.Online, devices) {
		conns[i] = info.Conn
		loop := info.Conn.(handler).base().conn.Loop()
		byLoop[loop] = append(byLoop[loop], info.Conn)
	}
	if all := w.gateway.Peers(t.Context(), conns); known(all) != devices {
		t.Errorf("%d of %d peers are known", known(all), devices)
	}
	standing := conns[0].(handler).base().conn.Loop()
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

func known(all []session.Peer) (n int) {
	for _, p := range all {
		if p.Addr.IsValid() && p.Protocol != "" {
			n++
		}
	}
	return n
}
