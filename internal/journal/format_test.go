package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
)

func TestGroupSurvivesOneSpoiltHead(t *testing.T) {
	b := newBatch()
	b.buf = append(b.buf, bytes.Repeat([]byte("x"), 700)...)
	h := head{salt: 7, segment: 3, first: 10, place: 12, count: 2, length: 700}
	group := bytes.Clone(b.group(h))
	if len(group)%sector != 0 || int64(len(group)) != h.size() {
		t.Fatalf("a group of %d bytes", len(group))
	}
	for _, spoilt := range []int{0, len(group) - 1} {
		f := append(make([]byte, sector), group...)
		f[sector+spoilt] ^= 1
		w := window{file: memory(f), end: int64(len(f))}
		got, at, ok := w.locate(sector, func(h head) bool { return h.salt == 7 })
		if h.crc = got.crc; !ok || at != sector || got != h {
			t.Errorf("byte %d spoilt: %+v at %d, %v", spoilt, got, at, ok)
		}
	}
}

// memory is a file that can only be read.
type memory []byte

func (m memory) ReadAt(b []byte, at int64) (int, error) { return bytes.NewReader(m).ReadAt(b, at) }
func (m memory) WriteAt([]byte, int64) (int, error)     { panic("written") }
func (m memory) Close() error                           { return nil }
func (m memory) Size() (int64, error)                   { return int64(len(m)), nil }
func (m memory) Allocate(int64) error                   { panic("written") }
func (m memory) Sync() error                            { panic("written") }

// broken is a file of which some bytes cannot be read.
type broken struct {
	memory
	from, to int64
}

func (b broken) ReadAt(p []byte, at int64) (int, error) {
	if at < b.to && b.from < at+int64(len(p)) {
		return 0, errors.New("input/output error")
	}
	return b.memory.ReadAt(p, at)
}

func TestUnreadableSectorsAreZero(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 4096)
	w := window{file: broken{content, 1024, 1030}, end: 4096}
	want := bytes.Clone(content)
	clear(want[1024:1536])
	if !bytes.Equal(w.view(0, 4096), want) {
		t.Error("more than the sector is missing, or less")
	}
}

// FuzzLocate looks for groups in any bytes. It corrects the CRCs of possible heads, so that locate
// accepts them.
func FuzzLocate(f *testing.F) {
	b := newBatch()
	for range 2 {
		p := recordPrefix(7, []byte("record"))
		b.buf = append(append(b.buf, p[:]...), "record"...)
	}
	group := b.group(head{salt: 7, segment: 1, first: 1, place: 1, count: 2, length: uint32(b.length())})
	f.Add(append(make([]byte, sector), group...))
	f.Add(bytes.Repeat(group, 3))
	f.Fuzz(func(t *testing.T, content []byte) {
		content = append(content, make([]byte, (sector-len(content)%sector)%sector)...)
		for at := 0; at < len(content); at += sector {
			reseal(content[at:][:headSize])
			reseal(content[at+sector-headSize:][:headSize])
		}
		w := window{file: memory(content), end: int64(len(content))}
		j := &Journal{salt: 7}
		for off := int64(0); ; {
			h, at, ok := w.locate(off, func(head) bool { return true })
			if !ok {
				break
			}
			if at < off || at%sector != 0 || at+h.size() > w.end {
				t.Fatalf("a group of %d bytes at %d, looked for from %d of %d", h.size(), at, off, w.end)
			}
			if h.count < 1000 {
				for _, g := range j.spoilt(h, w.view(at+headSize, int(h.length))) {
					if g.From < h.place || g.To > h.next() || g.From >= g.To {
						t.Fatalf("lost %d-%d of %d-%d", g.From, g.To, h.place, h.next())
					}
				}
			}
			off = at + h.size()
		}
	})
}

func reseal(b []byte) {
	binary.LittleEndian.PutUint32(b[headSize-4:], crc32.Checksum(b[:headSize-4], castagnoli))
}
