package reactor

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

const backlog = 4096 // the kernel limits it to net.core.somaxconn

// notSent is how many bytes the kernel accepts for a connection before it has sent them. Without a
// bound it accepts megabytes for a peer on a slow link, and urgent data would be queued after them.
const notSent = 16 << 10

// deferSeconds is how long the kernel holds back a connection whose client sends nothing.
const deferSeconds = 1

// endpoint is an address on which every loop listens.
type endpoint struct {
	Listener
	addr netip.AddrPort // set before the second loop starts
}

// newEndpoints resolves and probes the addresses.
func newEndpoints(listeners []Listener) (endpoints []*endpoint, err error) {
	for _, l := range listeners {
		if l.NewHandler == nil {
			return nil, errors.New("reactor: NewHandler is needed to listen")
		}
		d := &endpoint{Listener: l}
		if d.addr, err = resolve(l.Listen); err == nil {
			err = probe(d.addr)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cmp.Or(l.Name, "listen"), err)
		}
		endpoints = append(endpoints, d)
	}
	return endpoints, nil
}

// listener is one loop's socket for an endpoint.
type listener struct {
	*endpoint
	fd      int
	watched bool
}

// open listens at an endpoint. If the kernel chooses the port for the first loop, the other loops use the same.
func (l *Loop) open(d *endpoint) error {
	fd, err := listen(d.addr)
	if err != nil {
		return err
	}
	if l.config.ClientsBegin {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferSeconds) // without it, an accept costs one turn more
	}
	l.listeners = append(l.listeners, listener{endpoint: d, fd: fd})
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

// probe returns an error if another process listens on addr. Port sharing, which the loops use,
// would otherwise include that process, and each would get half of the devices.
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
	options := []struct{ level, option, value int }{ // accepted sockets inherit them, which saves one system call each per accept
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
		// The port is chosen at connect, so that one address can have 28,000 connections to
		// each destination instead of 28,000 in total.
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

// acceptAt accepts the connections that wait at the listener with this descriptor, if it is a listener.
func (l *Loop) acceptAt(fd int32) {
	for i := range l.listeners {
		if at := &l.listeners[i]; at.fd == int(fd) {
			l.acceptAll(at)
			return
		}
	}
}

// acceptAll accepts the connections that wait, up to acceptsPerTurn.
func (l *Loop) acceptAll(at *listener) {
	for range acceptsPerTurn {
		fd, errno := rawAccept(at.fd)
		switch errno {
		case 0:
		case unix.ECONNABORTED, unix.EINTR:
			continue
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			// Level-triggered epoll would spin on the backlog: listen again after a tick.
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

// watchListeners adds the listeners to epoll or removes them.
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

// stopListening closes the listeners, so that the kernel refuses new connections.
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
// host means every address, IPv6 and IPv4.
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
