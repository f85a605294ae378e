package reactor

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// reserved is how many descriptors of a table are not for connections: standard streams,
// the runtime's poller, epoll, wake-ups, listeners, log files.
const reserved = 256

// raiseLimit sets the soft limit of descriptors to the hard one and returns it.
func raiseLimit() (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, fmt.Errorf("descriptor limit: %w", err)
	}
	if lim.Cur < lim.Max {
		lim.Cur = lim.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
			return 0, fmt.Errorf("raise the descriptor limit to %d: %w", lim.Max, err)
		}
	}
	return int(min(lim.Cur, 1<<30)), nil
}

// plan decides how many loops there are and whether each takes a descriptor table of its
// own, so that conns connections fit under limit descriptors a table.
func plan(loops, conns, limit int) (n int, private bool) {
	room := max(1, limit-reserved-loops)
	if conns <= room {
		return loops, false
	}
	// Connections spread over the loops by the kernel's hash, not evenly: leave 3%.
	room = max(1, (limit-reserved)*97/100)
	return max(loops, (conns+room-1)/room), true
}

// startPoller makes the runtime's network poller exist. Any thread may run it, also one
// with a private table, so its descriptors must be in the table before that is split.
func startPoller() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the runtime's poller: %w", err)
	}
	return l.Close()
}

// splitTable gives the calling thread, which must be locked, a descriptor table of its
// own. Closing an empty range with CLOSE_RANGE_UNSHARE does only that, and container
// profiles that forbid unshare(2) let it pass.
//
// The new table starts as a copy. What it does not need is closed, because a socket that
// the rest of the process closes would otherwise live on here. Kept are the standard
// streams and everything of the kernel's own making (epoll instances and eventfds: the
// runtime's poller, the loops' wake-ups): without them the process dies or sleeps.
func splitTable() error {
	if err := unix.CloseRange(1<<30, 1<<30, unix.CLOSE_RANGE_UNSHARE); err != nil {
		return fmt.Errorf("split the descriptor table: %w", err)
	}
	dir, err := unix.Open("/proc/thread-self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("list the descriptor table: %w", err)
	}
	defer func() { _ = unix.Close(dir) }()
	var names []string
	buf := make([]byte, 8<<10)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil {
			return fmt.Errorf("list the descriptor table: %w", err)
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd <= 2 || fd == dir {
			continue
		}
		n, err := unix.Readlinkat(dir, name, buf)
		if err == nil && !strings.HasPrefix(string(buf[:n]), "anon_inode:") {
			_ = unix.Close(fd)
		}
	}
	return nil
}
