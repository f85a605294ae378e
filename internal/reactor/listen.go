package reactor

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

const backlog = 4096 // the kernel cuts it to net.core.somaxconn

// notSent is how many bytes the kernel takes of a connection that it has not sent yet. Without a
// bound it takes megabytes for a peer on a slow link, and what is urgent comes after them.
const notSent = 16 << 10

// deferSeconds is how long the kernel keeps a connection whose client says nothing.
const deferSeconds = 1

// door is an address that every loop listens on.
type door struct {
	Listener
	addr netip.AddrPort // set before the second loop starts
}

// newDoors resolves and probes the addresses.
func newDoors(listeners []Listener) (doors []*door, err error) {
	for _, l := range listeners {
		if l.NewHandler == nil {
			return nil, errors.New("reactor: NewHandler is needed to listen")
		}
		d := &door{Listener: l}
		if d.addr, err = resolve(l.Listen); err == nil {
			err = probe(d.addr)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cmp.Or(l.Name, "listen"), err)
		}
		doors = append(doors, d)
	}
	return doors, nil
}

// listener is a loop's own socket of a door.
type listener struct {
	*door
	fd      int
	watched bool
}

// open listens at a door. The kernel's choice of a port for the first loop is everyone's.
func (l *Loop) open(d *door) error {
	fd, err := listen(d.addr)
	if err != nil {
		return err
	}
	if l.config.ClientsBegin {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferSeconds) // or it costs more
	}
	l.listeners = append(l.listeners, listener{door: d, fd: fd})
	if d.addr.Port() != 0 {
		return nil
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("listen on %v: %w", d.addr, err)
	}
	d.addr = addrPort(sa)
	return nil
}

// probe fails when another process listens on addr. Sharing the port, as the loops do,
// would otherwise share it with that process too, and each would get half the devices.
func probe(addr netip.AddrPort) error {
	sa, family := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket for %v: %w", addr, err)
	}
	defer func() { _ = unix.Close(fd) }()
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("listen on %v: %w", addr, err)
	}
	return nil
}

// listen opens a listening socket that shares its port with those of the other loops.
func listen(addr netip.AddrPort) (int, error) {
	sa, family := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket for %v: %w", addr, err)
	}
	options := []struct{ level, option, value int }{ // accepted sockets inherit them: calls saved each
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent},
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("socket option %d for %v: %w", o.option, addr, err)
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %v: %w", addr, err)
	}
	if err := unix.Listen(fd, backlog); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listen on %v: %w", addr, err)
	}
	return fd, nil
}

// dial starts a non-blocking connect.
func dial(addr netip.AddrPort, from netip.Addr) (int, error) {
	sa, family := sockaddr(addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket to %v: %w", addr, err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if from.IsValid() {
		// The port is chosen at connect, so that one address serves 28,000 connections to
		// each destination instead of 28,000 in all.
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		local, _ := sockaddr(netip.AddrPortFrom(from, 0))
		if err := unix.Bind(fd, local); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("bind to %v: %w", from, err)
		}
	}
	if err := unix.Connect(fd, sa); err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connect to %v: %w", addr, err)
	}
	return fd, nil
}

// knock takes the connections that wait at the listener with this descriptor, if it is one.
func (l *Loop) knock(fd int32) {
	for i := range l.listeners {
		if at := &l.listeners[i]; at.fd == int(fd) {
			l.acceptAll(at)
			return
		}
	}
}

// acceptAll takes the connections that wait, up to a turn's share.
func (l *Loop) acceptAll(at *listener) {
	for range acceptsATurn {
		fd, errno := rawAccept(at.fd)
		switch errno {
		case 0:
		case unix.ECONNABORTED, unix.EINTR:
			continue
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			// Level-triggered epoll would spin on the backlog: look again in a tick.
			l.stats.Refused++
			l.accept = max(1, l.now+1)
			l.watchListeners(unix.EPOLL_CTL_DEL)
			return
		default:
			return
		}
		if l.room > 0 && l.stats.Open >= l.room {
			rawClose(fd)
			l.stats.Crowded++
			continue
		}
		l.stats.Accepted++
		c := l.adopt(fd, at.NewHandler(l), 0)
		c.accepted(at.TLS)
		if l.config.ClientsBegin && !c.is(paused|closed) {
			c.receive()
		}
		l.relieve()
	}
}

// watchListeners adds the listeners to epoll or takes them out.
func (l *Loop) watchListeners(op int) {
	add := op == unix.EPOLL_CTL_ADD
	for i := range l.listeners {
		at := &l.listeners[i]
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(at.fd)}
		if at.watched != add && unix.EpollCtl(l.epoll, op, at.fd, &event) == nil {
			at.watched = add
		}
	}
}

// stopListening closes the listeners: new connections are refused by the kernel.
func (l *Loop) stopListening() {
	l.watchListeners(unix.EPOLL_CTL_DEL)
	l.closeListeners()
	l.accept = 0
}

func (l *Loop) closeListeners() {
	for i := range l.listeners {
		_ = unix.Close(l.listeners[i].fd)
	}
	l.listeners = nil
}

// resolve turns a listen address such as ":8080" into an IP address and port. An empty
// host is every address, IPv6 and IPv4.
func resolve(addr string) (netip.AddrPort, error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen address %q: %w", addr, err)
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(a.Port)), nil
}

func sockaddr(a netip.AddrPort) (sa unix.Sockaddr, family int) {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, unix.AF_INET6
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
