// Package journaltest has a disk for tests of a journal: it forgets what was not synced,
// tears and reorders writes, fails, fills up and flips bits.
package journaltest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/longline/longline/internal/journal"
)

// ErrPowerCut is the error of every step of a disk without power.
var ErrPowerCut = errors.New("power cut")

// sector is the unit that a disk writes entirely or not at all, unless tear says otherwise.
const sector = 512

// Disk is a journal.FS in memory. It keeps apart what a process sees and what a power cut would leave.
// Safe from any goroutine.
type Disk struct {
	mu      sync.Mutex
	before  func(Step) error
	fate    Fate // of the writes of a sync that failed
	steps   int
	off     bool // no power
	locked  bool
	free    int64
	seen    map[string]*node   // as the process sees it
	safe    map[string]*node   // as of the last sync of the directory
	renames []map[string]*node // all later states
}

// Fate is what happens to the writes of a sync that failed.
type Fate int

// Forgotten writes are visible until the power is cut, and no later sync makes them safe, as on
// Linux. Kept ones wait for the next sync; Done ones are safe in spite of the error.
const (
	Forgotten Fate = iota
	Kept
	Done
)

// Step is an operation that changes a disk.
type Step struct {
	Number int // counted from 1
	Op     string
	Name   string // of the file; empty for the directory
}

type node struct {
	seen, safe []byte
	writes     []write // since the last sync
}

type write struct {
	at   int64
	data []byte
}

// New returns an empty disk.
func New() *Disk {
	return &Disk{free: 1 << 40, seen: map[string]*node{}, safe: map[string]*node{}}
}

// Fail makes d call before at each step that changes the disk, and return its error from the step. fate says what happens to
// writes whose sync fails.
func (d *Disk) Fail(before func(Step) error, fate Fate) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before, d.fate = before, fate
}

// Steps returns how many steps there were.
func (d *Disk) Steps() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.steps
}

// SetFree sets how many bytes are free.
func (d *Disk) SetFree(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = bytes
}

// Crash cuts the power and returns the disk as it is afterwards. choose decides what is left of each write that was
// not synced: it returns a number below n.
func (d *Disk) Crash(choose func(n int) int) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	after := New()
	names := d.safe
	if n := choose(len(d.renames) + 1); n > 0 { // a file system keeps the order of names
		names = d.renames[n-1]
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		content := names[name].crash(choose)
		after.seen[name] = &node{seen: content, safe: slices.Clone(content)}
	}
	after.safe = maps.Clone(after.seen)
	return after
}

// Kill returns the disk as it is after the process alone has ended: with all that it wrote, as long as the
// power is not cut. d must not be used any more.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	d.off = true
	d.mu.Unlock()
	return d.Fork()
}

// Fork returns what Kill returns; d goes on.
func (d *Disk) Fork() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := New()
	copies := make(map[*node]*node)
	twin := func(names map[string]*node) map[string]*node {
		all := make(map[string]*node)
		for name, n := range names {
			if copies[n] == nil {
				copies[n] = &node{seen: slices.Clone(n.seen), safe: slices.Clone(n.safe), writes: slices.Clone(n.writes)}
			}
			all[name] = copies[n]
		}
		return all
	}
	after.seen, after.safe = twin(d.seen), twin(d.safe)
	for _, names := range d.renames {
		after.renames = append(after.renames, twin(names))
	}
	return after
}

func (n *node) crash(choose func(int) int) []byte {
	content := slices.Clone(n.safe)
	for _, w := range n.writes {
		for i, keep := range w.tear(choose) {
			from := i * sector
			content = overwrite(content, w.at+int64(from), w.data[from:][:keep])
		}
	}
	return content
}

// tear returns how many bytes of each sector reach the disk: all of it, nothing, the first sectors,
// all sectors but one, or one sector in part.
func (w write) tear(choose func(int) int) []int {
	sizes := make([]int, 0, len(w.data)/sector+1)
	for left := len(w.data); left > 0; left -= sector {
		sizes = append(sizes, min(left, sector))
	}
	n := len(sizes)
	switch c := choose(2 + 3*n); {
	case c == 0:
		clear(sizes)
	case c == 1:
	case c < 2+n:
		clear(sizes[c-2:])
	case c < 2+2*n:
		sizes[c-2-n] = 0
	default:
		sizes[c-2-2*n] /= 3
	}
	return sizes
}

func overwrite(content []byte, at int64, data []byte) []byte {
	if end := int(at) + len(data); end > len(content) {
		content = append(content, make([]byte, end-len(content))...)
	}
	copy(content[at:], data)
	return content
}

// Flip changes one bit of a file.
func (d *Disk) Flip(name string, at int, bit int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.seen[name]
	n.seen[at] ^= 1 << bit
	n.safe[at] ^= 1 << bit
}

// Spoil fills a part of a file with a value.
func (d *Disk) Spoil(name string, at, length int, value byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.seen[name]
	for i := at; i < min(at+length, len(n.seen)); i++ {
		n.seen[i], n.safe[i] = value, value
	}
}

// Content returns a copy of a file's content.
func (d *Disk) Content(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen[name].seen)
}

// Put creates or replaces a file.
func (d *Disk) Put(name string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[name] = &node{seen: slices.Clone(content), safe: slices.Clone(content)}
	d.safe[name] = d.seen[name]
}

// Sizes returns the sizes of all files.
func (d *Disk) Sizes() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make(map[string]int)
	for name, n := range d.seen {
		all[name] = len(n.seen)
	}
	return all
}

// Copy returns a disk with what is safe on d.
func (d *Disk) Copy() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := New()
	for name, n := range d.safe {
		c.seen[name] = &node{seen: slices.Clone(n.safe), safe: slices.Clone(n.safe)}
	}
	c.safe = maps.Clone(c.seen)
	return c
}

// step counts a step and reports whether it fails. mu is held.
func (d *Disk) step(op, name string) error {
	if d.off {
		return ErrPowerCut
	}
	d.steps++
	if d.before == nil {
		return nil
	}
	err := d.before(Step{Number: d.steps, Op: op, Name: name})
	d.off = errors.Is(err, ErrPowerCut)
	return err
}

// renamed records the names, which are not safe yet. mu is held.
func (d *Disk) renamed() { d.renames = append(d.renames, maps.Clone(d.seen)) }

// Lock implements journal.FS, like the methods below.
func (d *Disk) Lock() (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked {
		return nil, errors.New("in use by this process")
	}
	d.locked = true
	return unlocker{d}, nil
}

type unlocker struct{ d *Disk }

func (u unlocker) Close() error {
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	u.d.locked = false
	return nil
}

func (d *Disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.seen)), nil
}

func (d *Disk) Create(name string) (journal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[name] != nil {
		return nil, fs.ErrExist
	}
	if err := d.step("create", name); err != nil {
		return nil, err
	}
	d.seen[name] = new(node)
	d.renamed()
	return &file{d: d, name: name, node: d.seen[name]}, nil
}

func (d *Disk) Open(name string) (journal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[name] == nil {
		return nil, fs.ErrNotExist
	}
	return &file{d: d, name: name, node: d.seen[name]}, nil
}

func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[from] == nil {
		return fs.ErrNotExist
	}
	if err := d.step("rename", from); err != nil {
		return err
	}
	d.seen[to] = d.seen[from]
	delete(d.seen, from)
	d.renamed()
	return nil
}

func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen[name] == nil {
		return fs.ErrNotExist
	}
	if err := d.step("remove", name); err != nil {
		return err
	}
	delete(d.seen, name)
	d.renamed()
	return nil
}

func (d *Disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("sync", ""); err != nil {
		return err
	}
	d.safe, d.renames = maps.Clone(d.seen), nil
	return nil
}

func (d *Disk) Free() (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, nil
}

// file is an open file.
type file struct {
	d      *Disk
	name   string
	node   *node
	closed bool
}

func (f *file) ReadAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	switch {
	case f.closed:
		return 0, fs.ErrClosed
	case at >= int64(len(f.node.seen)):
		return 0, io.EOF
	}
	n := copy(b, f.node.seen[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes only half of p when it fails.
func (f *file) WriteAt(b []byte, at int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.closed {
		return 0, fs.ErrClosed
	}
	if f.d.off {
		return 0, ErrPowerCut
	}
	err := f.d.step("write", f.name)
	if err != nil && !f.d.off {
		b = b[:len(b)/2]
	}
	f.node.seen = overwrite(f.node.seen, at, b)
	f.node.writes = append(f.node.writes, write{at, slices.Clone(b)})
	if err != nil {
		return len(b), fmt.Errorf("write %s: %w", f.name, err)
	}
	return len(b), nil
}

func (f *file) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.node.seen)), nil
}

func (f *file) Allocate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.step("allocate", f.name)
}

func (f *file) Sync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	if err := f.d.step("sync", f.name); err != nil {
		switch {
		case f.d.off || f.d.fate == Kept:
		case f.d.fate == Done:
			f.node.settle()
		default:
			f.node.writes = nil
		}
		return fmt.Errorf("sync %s: %w", f.name, err)
	}
	f.node.settle()
	return nil
}

// settle makes all writes safe.
func (n *node) settle() {
	for _, w := range n.writes {
		n.safe = overwrite(n.safe, w.at, w.data)
	}
	n.writes = nil
}

func (f *file) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	return nil
}
