package journal

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
)

// Recovery says what Open found, for logs and counters.
type Recovery struct {
	First, End Place // as of Journal.First and Journal.End
	// Cut are the records of the last group, if it was incomplete and nothing follows: a crash happened
	// during its write. They were never reported as safe; their places are assigned again.
	Cut *Gap
	// Lost are safe records that the disk has spoilt, in the newest segment.
	// Open does not read the other segments: their readers get a Gap.
	Lost []Gap
	// SetAside are the renamed files in which nothing can be read. They may have been the newest: then Lost
	// ends with as many places as they could hold, so that none is assigned twice.
	SetAside []string

	skipped Place
}

// unknown is the limit of the newest segment, for which no group says where it ends.
const unknown = ^Place(0)

// Open opens the journal in a directory, or makes one. It fails if another process uses the directory,
// if a newer version wrote it, and if the disk fails.
func Open(o Options) (*Journal, Recovery, error) {
	if err := o.fill(); err != nil {
		return nil, Recovery{}, err
	}
	j := newJournal(o)
	var rec Recovery
	err := j.lockDirectories()
	if err == nil {
		rec, err = j.recover()
	}
	if err != nil {
		return nil, rec, errors.Join(fmt.Errorf("journal: %w", err), j.release())
	}
	go j.commit()
	for _, d := range j.dirs {
		go d.keepReady()
	}
	return j, rec, nil
}

func newJournal(o Options) *Journal {
	return &Journal{
		options: o,
		work:    make(chan struct{}, 1), spared: make(chan struct{}, 1),
		closing: make(chan struct{}), committed: make(chan struct{}), closed: make(chan struct{}),
	}
}

func (j *Journal) lockDirectories() error {
	for _, fs := range []FS{j.options.FS, j.options.Second} {
		if fs == nil {
			break
		}
		d := newDirectory(j, fs)
		d.leaves = len(j.dirs) > 0 && j.options.SecondLeaves
		var err error
		if d.lock, err = fs.Lock(); err != nil {
			return err
		}
		j.dirs = append(j.dirs, d)
	}
	return nil
}

// recover finds out what the files contain. Nothing else runs yet.
func (j *Journal) recover() (Recovery, error) {
	var rec Recovery
	files, err := j.openFiles()
	if err == nil {
		err = j.readFrames(files)
	}
	if err == nil {
		err = j.sort(files, &rec)
	}
	next := Place(1)
	if err == nil {
		next, err = j.findEnd(&rec)
	}
	if rec.skipped > 0 {
		rec.Lost = append(rec.Lost, Gap{From: next, To: next + rec.skipped})
		next += rec.skipped
		j.current = nil // the reader finds the gap between two segments
	}
	j.intake = newIntake(j.options.Pending, next)
	for _, d := range j.dirs {
		if err == nil && !d.leaves && !slices.ContainsFunc(files, func(s *segment) bool { return s.dir == d }) {
			signal(d.urgent)
			err = d.prepareSpare() // reports at once that a directory cannot be written
		}
	}
	if err != nil {
		_ = j.closeFiles(files) // the failure is already reported
	}
	rec.First, rec.End = j.first(), next
	return rec, err
}

// openFiles opens the segment files of all directories.
func (j *Journal) openFiles() (files []*segment, err error) {
	for _, d := range j.dirs {
		if files, err = j.openFilesIn(d, files); err != nil {
			return files, err
		}
	}
	return files, nil
}

func (j *Journal) openFilesIn(d *directory, files []*segment) ([]*segment, error) {
	names, err := d.fs.List()
	if err != nil {
		return files, err
	}
	for _, name := range names {
		base, ok := strings.CutSuffix(name, segmentSuffix)
		if !ok {
			continue
		}
		var serial uint64
		if _, err := fmt.Sscanf(base, "%d", &serial); err == nil {
			j.serial = max(j.serial, serial)
		}
		f, err := d.fs.Open(name)
		if err != nil {
			return files, err
		}
		s := &segment{name: name, dir: d, file: f}
		files = append(files, s)
		if s.size, err = f.Size(); err != nil {
			return files, err
		}
		s.size -= s.size % sector
		s.end = s.size
		d.bytes += s.size
	}
	return files, nil
}

// readFrames reads the journal's salt and the numbers of the segments; a number stays 0 where the frame is
// spoilt.
func (j *Journal) readFrames(files []*segment) error {
	for _, s := range files {
		w := window{file: s.file, end: s.size}
		f, ok := parseFrame(w.view(0, sector))
		switch {
		case !ok:
			continue
		case f.version != formatVersion:
			return fmt.Errorf("%s has format version %d; this program knows version %d", s.name, f.version, formatVersion)
		case j.salt == 0:
			j.salt = f.salt
		}
		if f.salt == j.salt {
			s.number = f.number
		}
	}
	for _, s := range files {
		w := window{file: s.file, end: s.size}
		if h, ok := parseHead(w.view(sector, sector)); ok && j.salt == 0 {
			j.salt = h.salt // all frames are spoilt: take the salt from a group's head
		}
	}
	for j.salt == 0 {
		var b [8]byte
		rand.Read(b[:])
		j.salt = binary.LittleEndian.Uint64(b[:])
	}
	return nil
}

// sort sorts files: those with groups into segments, in order; those that can be
// used again into trimmed. Any other file is removed or set aside.
func (j *Journal) sort(files []*segment, rec *Recovery) error {
	limit := unknown
	numbered := files[:0:0]
	for _, s := range files {
		found := j.survey(s)
		j.number = max(j.number, s.number)
		if found == groups || found == room {
			numbered = append(numbered, s)
			continue
		}
		if found == rubbish {
			s.damaged = true
			rec.SetAside = append(rec.SetAside, s.name+damagedSuffix)
			rec.skipped += Place(s.size / recordHead)
		}
		if err := j.retire(s); err != nil {
			return err
		}
	}
	slices.SortFunc(numbered, func(a, b *segment) int { return cmp.Compare(b.order, a.order) })
	for i, s := range numbered { // from the newest
		switch {
		case s.first == 0:
			j.trimmed = append(j.trimmed, s)
		case s.first >= limit || j.isElsewhere(s, numbered[i+1:]):
			// Its write failed, or took too long, and its group is in another segment.
			if err := j.retire(s); err != nil {
				return err
			}
		default:
			j.segments, limit = append(j.segments, s), s.first
		}
	}
	slices.Reverse(j.segments)
	return nil
}

// isElsewhere reports whether s has one group, which is spoilt, and one of the older segments has the same one. That is so when a write took too
// long, was done again in s, and was done in time after all.
func (j *Journal) isElsewhere(s *segment, older []*segment) bool {
	w := window{file: s.file, end: s.size}
	of := func(s *segment) func(head) bool {
		return func(h head) bool { return h.salt == j.salt && h.segment == s.number }
	}
	h, at, ok := w.locate(sector, of(s))
	if !ok || crc32.Checksum(w.view(at+headSize, int(h.length)), castagnoli) == h.crc {
		return false
	}
	if _, _, more := w.locate(at+h.size(), of(s)); more {
		return false
	}
	for _, s := range older {
		w := window{file: s.file, end: s.size}
		for off, ok := int64(sector), s.first != 0 && s.first <= h.place; ok; {
			var twin head
			if twin, at, ok = w.locate(off, of(s)); !ok {
				break
			}
			if twin.place == h.place && twin.count == h.count && twin.length == h.length && twin.crc == h.crc &&
				crc32.Checksum(w.view(at+headSize, int(h.length)), castagnoli) == h.crc {
				return true
			}
			off = at + twin.size()
		}
	}
	return false
}

// What a segment file may contain.
type content int

const (
	nothing content = iota // the file was not finished
	room                   // the file is ready for use
	groups
	rubbish // the file may have contained groups
)

// survey finds the first place of a segment, and its number if the frame is spoilt: then the number in its newest
// groups.
func (j *Journal) survey(s *segment) content {
	w := window{file: s.file, end: s.size}
	framed := s.number != 0
	for off := int64(sector); !framed; {
		h, at, ok := w.locate(off, func(h head) bool { return h.salt == j.salt })
		if !ok {
			break
		}
		s.number = max(s.number, h.segment)
		off = at + h.size()
	}
	h, _, ok := w.locate(sector, func(h head) bool { return h.salt == j.salt && h.segment == s.number })
	if ok {
		s.first, s.order = h.first, h.order
		j.order = max(j.order, h.order)
		return groups
	}
	_, at, old := w.locate(sector, func(h head) bool { return h.salt == j.salt })
	switch {
	case old && at == sector: // the first group of the segment that used this file before
		return room
	case framed && w.zero(sector, 2*sector): // a new file; of its first group at most other sectors were written
		return room
	case framed, !w.zero(sector, s.size):
		return rubbish
	}
	return nothing
}

// findEnd reads the newest segment and returns the place after its last group. If the segment contains only
// an incomplete group, findEnd removes it and goes on with the one before.
func (j *Journal) findEnd(rec *Recovery) (Place, error) {
	limit := unknown
	for len(j.segments) > 0 {
		s := j.segments[len(j.segments)-1]
		t := j.readTail(s, limit)
		if t.cut != nil {
			rec.Cut = t.cut
		}
		rec.Lost = append(t.lost, rec.Lost...)
		if t.any {
			return t.next, j.resume(s, t)
		}
		j.segments = j.segments[:len(j.segments)-1]
		limit = s.first // its head proves that everything before is safe
		if err := j.retire(s); err != nil {
			return 0, err
		}
	}
	if limit == unknown {
		return 1, nil
	}
	if limit > 1 {
		rec.Lost = append(rec.Lost, Gap{From: 1, To: limit})
	}
	return limit, nil
}

// resume makes s the current segment, unless it is damaged. It writes the last group again: after a
// crash of the process alone, the kernel has the group but may no longer know that the disk does not.
func (j *Journal) resume(s *segment, t tail) error {
	s.damaged = len(t.lost) > 0
	j.marked = t.last.count == 0
	if s.damaged || t.spoilt {
		return nil
	}
	w := window{file: s.file, end: s.size}
	group := w.view(t.at, int(t.last.size()))
	t.last.append(group[:0])
	t.last.append(group[:len(group)-headSize])
	if _, err := s.file.WriteAt(group, t.at); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.end, j.current = t.at+t.last.size(), s
	return nil
}

// tail describes the end of the newest segment.
type tail struct {
	any    bool  // there is a valid group
	last   head  // of the last group
	at     int64 // the offset of the last group
	spoilt bool  // the last group is spoilt
	next   Place // the place after the last group
	lost   []Gap
	cut    *Gap
}

// readTail reads all groups of a segment before limit. The head of a group proves that the groups before it
// were safe. So a spoilt group is lost if a head or a limit follows it; otherwise it is cut.
func (j *Journal) readTail(s *segment, limit Place) tail {
	w := window{file: s.file, end: s.size}
	t := tail{next: s.first}
	for off := int64(sector); ; {
		h, at, ok := w.locate(off, func(h head) bool {
			return h.salt == j.salt && h.segment == s.number && h.place >= t.next && h.place < limit
		})
		if !ok {
			break
		}
		body := w.view(at+headSize, int(h.length))
		spoilt := crc32.Checksum(body, castagnoli) != h.crc
		if spoilt && limit == unknown {
			after := h.next()
			if _, _, proof := w.locate(at+h.size(), func(n head) bool {
				return n.salt == j.salt && n.segment == s.number && n.place >= after
			}); !proof {
				t.cut = &Gap{From: h.place, To: after}
				break
			}
			body = w.view(at+headSize, int(h.length))
		}
		if h.place > t.next {
			t.lost = append(t.lost, Gap{From: t.next, To: h.place})
		}
		if spoilt {
			t.lost = append(t.lost, j.spoilt(h, body)...)
		}
		t.any, t.last, t.at, t.spoilt, t.next = true, h, at, spoilt, h.next()
		off = at + h.size()
	}
	if limit != unknown && t.next < limit {
		t.lost = append(t.lost, Gap{From: t.next, To: limit})
		t.next = limit
	}
	return t
}

// spoilt returns the records of a group that cannot be read.
func (j *Journal) spoilt(h head, body []byte) (gaps []Gap) {
	for place := h.place; place < h.next(); place++ {
		_, rest, good, ok := cutRecord(j.salt, body)
		if !ok {
			return append(gaps, Gap{From: place, To: h.next()})
		}
		if !good {
			gaps = append(gaps, Gap{From: place, To: place + 1})
		}
		body = rest
	}
	return gaps
}

// setAside renames a spoilt file, so that it can be examined, and removes the oldest of such files.
func setAside(fs FS, name string) error {
	if err := fs.Rename(name, name+damagedSuffix); err != nil {
		return err
	}
	names, err := fs.List()
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, damagedSuffix) })
	slices.Sort(names)
	for len(names) > keptDamaged {
		if err := fs.Remove(names[0]); err != nil {
			return err
		}
		names = names[1:]
	}
	return nil
}
