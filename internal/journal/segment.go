package journal

import (
	"cmp"
	"slices"
)

// segment is a file while it holds one part of the journal. When the file is reused, that is another
// segment.
type segment struct {
	// Static after construction.
	name   string
	dir    *directory
	file   File
	size   int64
	number uint64 // of this use of the file

	// Guarded by the journal's mu.
	order   uint64 // among the segments with groups
	first   Place  // of its first record; 0 before it has a group
	end     int64  // where the next group goes; the file's size if that is unknown
	final   bool   // a write or sync failed: the file is not reused
	damaged bool   // safe records in it were spoilt: the file is set aside when it is trimmed
	closed  bool
}

// window is a piece of a segment in memory. It has one owner.
type window struct {
	file  File
	end   int64 // nothing is read from here on
	at    int64 // the offset of buf in the file
	buf   []byte
	piece int // how many bytes are read at once, unless a group is larger; 0 means windowSize
}

const (
	windowSize = 64 << 10
	seekPiece  = 4 << 10 // for looking at single heads
)

// view returns n bytes of the file from off, or nil if the file ends before that. They are valid until the next
// view. Bytes that the disk cannot read are zero, which no group and no record is.
func (w *window) view(off int64, n int) []byte {
	if off < 0 || n < 0 || off+int64(n) > w.end {
		return nil
	}
	if off < w.at || off+int64(n) > w.at+int64(len(w.buf)) {
		w.load(off, int(min(int64(max(n, cmp.Or(w.piece, windowSize))), w.end-off)))
	}
	return w.buf[off-w.at:][:n]
}

func (w *window) load(off int64, n int) {
	if cap(w.buf) < n || cap(w.buf) > keptBuffer && n < cap(w.buf)/4 {
		w.buf = make([]byte, n)
	}
	w.at, w.buf = off, w.buf[:n]
	if got, _ := w.file.ReadAt(w.buf, off); got == n {
		return
	}
	for b := w.buf; len(b) > 0; {
		piece := b[:min(sector, len(b))]
		if got, _ := w.file.ReadAt(piece, off); got < len(piece) {
			clear(piece)
		}
		b, off = b[len(piece):], off+int64(len(piece))
	}
}

// forget drops what was read, because it may be older than what is needed next.
func (w *window) forget(end int64) { w.buf, w.end = w.buf[:0], end }

// shrink gives back the memory of a large group.
func (w *window) shrink() {
	if cap(w.buf) > windowSize {
		w.buf = nil
	}
}

// seek returns the offset of a group that is not behind the one with a place, and near it. keep selects heads.
func (w *window) seek(place Place, keep func(head) bool) int64 {
	near, far := int64(sector), w.end
	for far-near > windowSize {
		middle := near + (far-near)/2/sector*sector
		if h, at, ok := w.locate(middle, keep); ok && at < far && h.place <= place {
			near = at
		} else {
			far = middle
		}
	}
	return near
}

// locate returns the first group at or after off, and where it is. Either of its two heads
// is enough. keep selects heads.
func (w *window) locate(off int64, keep func(head) bool) (h head, at int64, ok bool) {
	for from := off; ; off += sector {
		b := w.view(off, sector)
		if b == nil {
			return h, 0, false
		}
		if h, ok = parseHead(b); ok && keep(h) && off+h.size() <= w.end {
			return h, off, true
		}
		if h, ok = parseHead(b[sector-headSize:]); ok && keep(h) {
			if at = off + sector - h.size(); at >= from {
				return h, at, true
			}
		}
	}
}

// zero reports whether the file holds only zeroes from off to end.
func (w *window) zero(off, end int64) bool {
	for ; off < end; off += sector {
		if slices.ContainsFunc(w.view(off, sector), func(b byte) bool { return b != 0 }) {
			return false
		}
	}
	return true
}
