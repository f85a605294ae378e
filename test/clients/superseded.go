package clients

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Superseded are connections that devices have left open when they connected again. Once the new connection is accepted, nothing may come on the old
// one but its end. Its methods are safe from any goroutine.
type Superseded struct {
	now func() time.Duration

	mu    sync.Mutex
	count int
	open  map[*old]struct{}
	late  []Late
	slow  []string // connections that were closed late
}

// Late is something that came on a connection after the next one of its device was accepted.
type Late struct {
	Client, What string
	Address      string        // of the gateway to which the old connection goes
	Accepted, At time.Duration // when the new one was accepted, and when this came
}

// NewSuperseded returns an empty set.
func NewSuperseded(now func() time.Duration) *Superseded {
	return &Superseded{now: now, open: make(map[*old]struct{})}
}

// slowClose is how long after the next connection was accepted a gateway may close the old one, without being told of.
const slowClose = 5 * time.Second

// Report returns how many connections there were, which are open, which were closed late, and what came late.
func (s *Superseded) Report() (count int, open, slow []string, late []Late) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.open {
		open = append(open, fmt.Sprintf("%s to %s since %v", o.client, o.address, o.accepted))
	}
	return s.count, open, slices.Clone(s.slow), slices.Clone(s.late)
}

// old is a connection whose device has another one now.
type old struct {
	set             *Superseded
	client, address string
	accepted        time.Duration
	mark            int64 // bytes that had come when the new one was accepted
}

// add notes that a new connection of the client was accepted while conn is open. What the kernel has received by now is no fault.
func (s *Superseded) add(client string, conn syscall.Conn, address net.Addr) *old {
	o := &old{set: s, client: client, address: address.String(), accepted: s.now(), mark: received(conn)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.open[o] = struct{}{}
	return o
}

// received returns how many bytes the kernel has received on a connection; 0 if it was closed, so that nothing more comes.
func received(conn syscall.Conn) (n int64) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int64(info.Bytes_received)
		}
	})
	return n
}

// got notes what came on the connection and ended with this byte of it.
func (o *old) got(end int64, what string) {
	if end <= o.mark {
		return
	}
	o.set.mu.Lock()
	defer o.set.mu.Unlock()
	o.set.late = append(o.set.late, Late{Client: o.client, What: what, Address: o.address, Accepted: o.accepted, At: o.set.now()})
}

// ended notes the end of the connection.
func (o *old) ended() {
	o.set.mu.Lock()
	defer o.set.mu.Unlock()
	if _, is := o.set.open[o]; !is {
		return
	}
	delete(o.set.open, o)
	if after := o.set.now() - o.accepted; after > slowClose {
		o.set.slow = append(o.set.slow, fmt.Sprintf("%s to %s, superseded %v, closed after %v", o.client, o.address, o.accepted, after))
	}
}
