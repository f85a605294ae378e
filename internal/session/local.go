package session

import (
	"context"
	"time"

	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/wire"
)

// Local answers for the devices of this node. When a context ends, its call returns, also while it waits. Local's
// methods are safe from any goroutine except loops, because they may wait for a loop.
type Local struct {
	manager *Manager
	peers   func(context.Context, []Conn) []devices.Peer
}

// Local returns the Local of the manager's devices. peers asks for the peers of connections, in their order; the
// result is zero for a nil Conn, and for those that peers has not learnt when its context ends.
func (m *Manager) Local(peers func(context.Context, []Conn) []devices.Peer) *Local {
	return &Local{m, peers}
}

// Get describes a device, or returns devices.ErrUnknown.
func (l *Local) Get(ctx context.Context, device string) (devices.Info, error) {
	s := l.manager.session(device)
	if s == nil {
		return devices.Info{}, devices.ErrUnknown
	}
	s.lock()
	info, conn := s.info()
	s.unlock()
	list := []devices.Info{info}
	l.locate(ctx, list, []Conn{conn})
	return list[0], ctx.Err()
}

// List describes the devices of a page.
func (l *Local) List(ctx context.Context, p devices.Page) ([]devices.Info, error) {
	list, conns := l.manager.list(ctx, p)
	l.locate(ctx, list, conns)
	return list, ctx.Err()
}

// peerWait is how long a listing waits for busy loops to tell the peers of its devices.
const peerWait = time.Second

// locate sets the peers of the devices that are on line.
func (l *Local) locate(ctx context.Context, list []devices.Info, conns []Conn) {
	ctx, cancel := context.WithTimeout(ctx, peerWait)
	defer cancel()
	for i, p := range l.peers(ctx, conns) {
		list[i].Peer = p
	}
}

// Call sends a request to a device and returns its reply, which may be an error of the device. The call is not queued:
// if the device is not connected now, Call fails.
func (l *Local) Call(ctx context.Context, device string, c devices.Call) (devices.Reply, error) {
	return l.manager.Call(ctx, device, c.Method, c.Payload, c.ContentType)
}

// Disconnect closes a device's connection and reports whether there was one.
func (l *Local) Disconnect(_ context.Context, device string, why *wire.Close) (was bool, err error) {
	if was = l.manager.Disconnect(device, why); !was && l.manager.session(device) == nil {
		err = devices.ErrUnknown
	}
	return was, err
}

// Broadcast is Manager.Broadcast.
func (l *Local) Broadcast(ctx context.Context, m *message.Message, filter string) (int, error) {
	return l.manager.Broadcast(ctx, m, filter)
}
