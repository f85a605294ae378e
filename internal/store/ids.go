package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/longline/longline/internal/message"
)

// idsFile is the name of the file in the state directory where a node keeps which message IDs it may have given out.
const idsFile = "ids"

// IDs reserves message IDs in a file, so that no life of the node gives out IDs of another, whatever its clock says.
// It implements message.Ranges. The file has one line, "longline ids 1 {node} {position}": the node has given out no
// IDs from the position on.
type IDs struct {
	lane message.Lane // static

	// Guarded by mu.
	mu   sync.Mutex
	dir  *os.File // locked until it is closed
	next uint64   // the position in the file
}

// OpenIDs opens or makes the file in a state directory, which it locks. A new file begins at the position of the
// clock, so that a node whose file was lost repeats no ID that it gave out while it kept to the clock's pace.
func OpenIDs(dir string, node uint16) (*IDs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	i := &IDs{dir: d, lane: message.Lane(node)}
	if err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		err = fmt.Errorf("%s is in use by another process: %w", dir, err)
	} else {
		i.next, err = i.read()
	}
	if err != nil {
		_ = d.Close() // nothing was written
		return nil, err
	}
	return i, nil
}

// read returns the position in the file.
func (i *IDs) read() (uint64, error) {
	path := filepath.Join(i.dir.Name(), idsFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return message.Position(time.Now()), nil
	}
	if err != nil {
		return 0, err
	}
	rest, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "longline ids 1 ")
	node, position, _ := strings.Cut(rest, " ")
	next, err := strconv.ParseUint(position, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("%s does not say which message IDs were given out: restore a copy of it, or remove it to begin at the clock", path)
	}
	if node != strconv.Itoa(int(i.lane)) {
		return 0, fmt.Errorf("%s is of node %s, not of node %d", path, node, i.lane)
	}
	return next, nil
}

// Reserve implements message.Ranges. It returns when the file is synced.
func (i *IDs) Reserve() (message.Range, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r, next, err := i.lane.At(i.next)
	if err != nil {
		return r, err
	}
	if err := i.write(next); err != nil {
		return message.Range{}, fmt.Errorf("message IDs cannot be reserved: %w", err)
	}
	i.next = next
	return r, nil
}

// write replaces the file by one with the position next, so that the file is never half written.
func (i *IDs) write(next uint64) (err error) {
	if i.dir == nil {
		return fs.ErrClosed
	}
	path := filepath.Join(i.dir.Name(), idsFile)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "longline ids 1 %d %d\n", i.lane, next)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(path+".new", path); err != nil {
		return err
	}
	return i.dir.Sync()
}

// Close unlocks the directory. From then on Reserve fails.
func (i *IDs) Close() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	dir := i.dir
	i.dir = nil
	return dir.Close()
}
