package file

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/longline/longline/internal/sink/pump"
)

// output is the file that is written. One goroutine at a time uses it.
type output struct {
	config Config
	part   *part // nil while none is open
}

// part is the file from one opening to its closing.
type part struct {
	file   *os.File
	size   int64
	safe   int64 // how much of it is on disk
	begun  time.Time
	closed bool
	lost   bool // a sync has failed while the file was set aside: nobody knows what is on disk
}

// position is a place in a file.
type position struct {
	part   *part
	offset int64
}

// ready makes a file ready to be appended to. It reports whether that is another one than the last time.
func (o *output) ready(now time.Time) (fresh bool, err error) {
	if o.part == nil {
		fresh = true
		if err := o.open(now); err != nil {
			return false, err
		}
	}
	f, r := o.part, o.config.Rotate
	if f.size == 0 || f.size < int64(r.Bytes) && period(f.begun, r.Every) == period(now, r.Every) {
		return fresh, nil
	}
	if err := o.rotate(now); err != nil {
		return false, err
	}
	return true, o.open(now)
}

// period returns the number of the period that t is in.
func period(t time.Time, every time.Duration) int64 {
	if every == 0 {
		return 0
	}
	return t.UnixNano() / int64(every)
}

// open opens the file, and sets what a kill has left of a last message aside.
func (o *output) open(now time.Time) (err error) {
	dir := filepath.Dir(o.config.Path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(o.config.Path, os.O_RDWR|os.O_CREATE, 0o640)
	if errors.Is(err, syscall.EISDIR) {
		return pump.Misconfigured(err)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { //nolint:gosec // a descriptor
		return fmt.Errorf("%s: another sink or process writes it: %w", o.config.Path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return pump.Misconfigured(fmt.Errorf("%s: want a regular file", o.config.Path))
	}
	whole, err := o.whole(f, info.Size())
	if err != nil {
		return err
	}
	if whole < info.Size() {
		if err := o.cut(f, whole, info.Size()); err != nil {
			return err
		}
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), syncDir(dir)); err != nil {
		return err
	}
	o.part = &part{file: f, size: whole, safe: whole, begun: now}
	if whole > 0 {
		o.part.begun = info.ModTime()
	}
	return nil
}

// cutEnd is the end of the name of the file that gets what is cut off.
const cutEnd = ".cut"

// cut moves what is behind the whole messages in f to the end of another file: there may be more than a kill has left, if the disk has spoilt a length, or
// the file was written with another content.
func (o *output) cut(f *os.File, whole, size int64) error {
	to, err := os.OpenFile(o.config.Path+cutEnd, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(f, whole, size-whole))
	if err = errors.Join(err, to.Sync(), to.Close(), syncDir(filepath.Dir(o.config.Path))); err != nil {
		return err
	}
	return f.Truncate(whole)
}

// whole returns the size of the whole messages in f.
func (o *output) whole(f *os.File, size int64) (int64, error) {
	if o.config.Content == Delimited {
		return wholeDelimited(f, size)
	}
	return wholeLines(f, size)
}

// wholeLines returns the offset behind the last line break.
func wholeLines(f io.ReaderAt, size int64) (int64, error) {
	buffer := make([]byte, 64<<10)
	for end := size; end > 0; {
		begin := max(end-int64(len(buffer)), 0)
		p := buffer[:end-begin]
		if _, err := f.ReadAt(p, begin); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(p, '\n'); i >= 0 {
			return begin + int64(i) + 1, nil
		}
		end = begin
	}
	return 0, nil
}

// wholeDelimited returns the offset behind the last message that is whole. It reads the lengths of all.
func wholeDelimited(f io.ReaderAt, size int64) (int64, error) {
	r := bufio.NewReader(io.NewSectionReader(f, 0, size))
	for at := int64(0); ; {
		n, err := binary.ReadUvarint(r)
		if err != nil || n > uint64(size) { //nolint:gosec // not negative
			return at, ignoreEnd(err)
		}
		next := at + int64(len(binary.AppendUvarint(nil, n))) + int64(n) //nolint:gosec // at most size
		if next > size {
			return at, nil
		}
		if _, err := r.Discard(int(n)); err != nil { //nolint:gosec // at most size
			return at, ignoreEnd(err)
		}
		at = next
	}
}

// ignoreEnd returns err, unless it says that the file ends.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// append writes p behind what is there. After an error none of it is.
func (o *output) append(p []byte) (position, error) {
	f := o.part
	n, err := f.file.Write(p)
	if err != nil {
		o.fail()
		return position{}, err
	}
	f.size += int64(n)
	return position{f, f.size}, nil
}

// errLost is the error of those whose messages were behind the last sync of a file that has failed.
var errLost = errors.New("the file has failed before the messages were on disk")

// unsafe returns the file that has to be synced so that it is on disk up to end, and up to where it is then; nil if it is already. The error says that
// what was written is lost.
func (o *output) unsafe(end position) (file *os.File, upTo position, err error) {
	switch f := end.part; {
	case f.lost:
		return nil, end, errLost
	case end.offset <= f.safe:
		return nil, end, nil
	case f.closed:
		return nil, end, errLost
	default:
		return f.file, position{f, f.size}, nil
	}
}

// synced notes that a file was synced up to a position, or not because of err. The error is err, or says that the file has failed meanwhile.
func (o *output) synced(upTo position, err error) error {
	switch f := upTo.part; {
	case f.closed && upTo.offset > f.safe:
		return errors.Join(err, errLost)
	case errors.Is(err, os.ErrClosed) && upTo.offset <= f.safe: // rotate was faster, and has synced it
		return nil
	case err != nil && f.closed:
		f.lost = true // the system tells of an error once: the sync of rotate may have succeeded after this one
	case err != nil:
		o.fail()
	default:
		f.safe = max(f.safe, upTo.offset)
	}
	return err
}

// fail closes the file after an error. What was not on disk is removed from it, because it comes again.
func (o *output) fail() {
	_ = o.part.file.Truncate(o.part.safe) // a part that stays comes twice
	o.close()
}

// close closes the file.
func (o *output) close() {
	if o.part != nil {
		_ = o.part.file.Close()
		o.part.closed = true
		o.part = nil
	}
}

// rotate sets the file aside.
func (o *output) rotate(now time.Time) error {
	if err := o.part.file.Sync(); err != nil {
		o.fail()
		return err
	}
	o.part.safe = o.part.size
	name, err := freeName(o.config.Path, now)
	if err != nil {
		return err
	}
	if err := os.Rename(o.config.Path, name); err != nil {
		return err
	}
	o.close()
	return syncDir(filepath.Dir(o.config.Path))
}

// freeName returns a name for a file that is set aside now, which no file has.
func freeName(path string, now time.Time) (string, error) {
	ext := filepath.Ext(path)
	base := path[:len(path)-len(ext)]
	for range 1000 {
		name := base + "-" + now.UTC().Format(asideTime) + ext
		_, plain := os.Lstat(name)
		_, packed := os.Lstat(name + gzipped)
		if errors.Is(plain, fs.ErrNotExist) && errors.Is(packed, fs.ErrNotExist) {
			return name, nil
		}
		now = now.Add(time.Millisecond)
	}
	return "", fmt.Errorf("%s: no name is free to set it aside", path)
}

// asideTime is the time in the name of a file that was set aside; names are in the order of times.
const asideTime = "20060102T150405.000Z"

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
