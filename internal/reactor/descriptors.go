package reactor

import (
	"errors"
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxLoops is the most event loops of a group. Each has a thread, a descriptor in every table and
// about 100 KB.
const MaxLoops = 256

// ErrConnections says that the limit of descriptors is too low for the connections.
var ErrConnections = errors.New("the limit of open files is too low")

// reserved returns how many descriptors of a table are not for connections: standard streams,
// the runtime's poller, epoll, listeners, log files, connections to other ports.
func reserved(limit int) int { return min(256, limit/2) }

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
	return int(min(lim.Cur, maxLimit)), nil
}

// plan decides how many loops there are and whether each has its own descriptor
// table, so that conns connections fit with limit descriptors per table.
func plan(loops, conns, limit int) (n int, private bool, err error) {
	if loops > MaxLoops {
		return 0, false, fmt.Errorf("%d event loops: at most %d are possible", loops, MaxLoops)
	}
	if conns <= max(1, limit-reserved(limit)-loops) {
		return loops, false, nil
	}
	for n := loops; n <= MaxLoops; n++ {
		if capacity(n, limit) >= conns {
			return n, true, nil
		}
	}
	return 0, false, tooMany(loops, conns, limit)
}

// capacity returns how many connections n loops with private tables hold. Each table has the wake-ups
// of all loops. The kernel spreads connections over the loops by hash, not evenly: 3% are left for that.
func capacity(n, limit int) int { return n * max(0, (limit-reserved(limit)-n)*97/100) }

// most returns how many connections as many loops as are allowed hold.
func most(loops, limit int) (conns int) {
	for n := loops; n <= MaxLoops; n++ {
		conns = max(conns, capacity(n, limit))
	}
	return conns
}

// maxLimit is the highest limit of descriptors that is taken into account.
const maxLimit = 1 << 30

// tooMany returns an error that says what to change.
func tooMany(loops, conns, limit int) error {
	least := sort.Search(maxLimit, func(limit int) bool { return most(loops, limit) >= conns })
	if least == maxLimit {
		return fmt.Errorf("%w: %d connections are more than any limit allows", ErrConnections, conns)
	}
	return fmt.Errorf("%w: %d connections need %d, and it is %d, for at most %d connections; raise it (ulimit -Hn, LimitNOFILE= of systemd, --ulimit nofile= of a container), or allow fewer connections",
		ErrConnections, conns, least, limit, most(loops, limit))
}

// startPoller starts the runtime's network poller. Any thread may run the poller, also one
// with a private table, so its descriptors must exist before the table is split.
func startPoller() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the runtime's poller: %w", err)
	}
	return l.Close()
}

// splitTable gives the calling thread, which must be locked, its own descriptor
// table. Closing an empty range with CLOSE_RANGE_UNSHARE does only that, and container
// profiles that forbid unshare(2) allow it.
//
// The new table starts as a copy. splitTable closes what the loop does not need, because a socket that
// the rest of the process closes would otherwise stay open here. It keeps the standard
// streams and all descriptors without a file (epoll instances and eventfds: the
// runtime's poller, the loops' wake-ups): without them the process crashes or never wakes.
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
