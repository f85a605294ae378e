package journal

import (
	"encoding/binary"
	"hash/crc32"
)

// A segment file starts with a sector that describes it, its frame. Groups follow, each from the
// start of a sector to the end of one, so that writing a group never touches a sector of another:
//
//	frame | head records padding tail | head records padding tail | ...
//
// The tail is a copy of the head: when a flipped bit spoils one of them, the other tells where the
// group is and what it should contain. A record is its length, a CRC, and its bytes. The records of a
// group have consecutive places, starting with the head's.
//
// Files are used again without being zeroed: a group belongs to a segment only if it carries the
// segment's number, which the file gets when it is prepared. Which segment follows which is not known by then if there are
// two directories: that is the order, which the segment gets with its first group. A group also carries the journal's
// salt, a random number that exists only on this disk: without it a device could send a payload that looks like a group.
const (
	sector     = 512 // the unit that a disk writes entirely or not at all
	frameSize  = 40
	headSize   = 56
	recordHead = 8 // length and CRC

	// formatVersion changes when an older reader would misunderstand what it reads.
	formatVersion = 2

	lastPlace Place = 1 << 62 // no head has a larger one
)

const frameMagic = "LLJOURNL"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is the first sector of a segment file.
type frame struct {
	version uint32
	salt    uint64
	number  uint64 // of the segment; a file gets a new one each time that it is used
}

func (f frame) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, frameMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, f.version)
	dst = binary.LittleEndian.AppendUint32(dst, 0) // reserved
	dst = binary.LittleEndian.AppendUint64(dst, f.salt)
	dst = binary.LittleEndian.AppendUint64(dst, f.number)
	dst = binary.LittleEndian.AppendUint32(dst, 0) // reserved
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// parseFrame reads the frame at the start of b and reports whether there is one.
func parseFrame(b []byte) (f frame, ok bool) {
	if len(b) < frameSize || string(b[:8]) != frameMagic || !sealed(b[:frameSize]) {
		return f, false
	}
	f.version = binary.LittleEndian.Uint32(b[8:])
	f.salt = binary.LittleEndian.Uint64(b[16:])
	f.number = binary.LittleEndian.Uint64(b[24:])
	return f, true
}

// head describes a group. There is one before and one after the records.
type head struct {
	salt    uint64
	segment uint64 // the number of the segment that the group was written to
	order   uint64 // of the segment among all: the one that was begun later has the higher one
	first   Place  // of the segment's first record
	place   Place  // of the group's first record
	count   uint32 // of records; 0 for the mark of a clean end
	length  uint32 // of the records, in bytes
	crc     uint32 // of the records
}

// size returns how many bytes the group takes in its segment.
func (h head) size() int64 { return groupSize(int(h.length)) }

// next returns the place after the group.
func (h head) next() Place { return h.place + Place(h.count) }

func groupSize(length int) int64 {
	return (int64(headSize+length+headSize) + sector - 1) / sector * sector
}

func (h head) append(dst []byte) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, h.salt)
	dst = binary.LittleEndian.AppendUint64(dst, h.segment)
	dst = binary.LittleEndian.AppendUint64(dst, h.order)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.first))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.place))
	dst = binary.LittleEndian.AppendUint32(dst, h.count)
	dst = binary.LittleEndian.AppendUint32(dst, h.length)
	dst = binary.LittleEndian.AppendUint32(dst, h.crc)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// parseHead reads the head at the start of b and reports whether there is one.
func parseHead(b []byte) (h head, ok bool) {
	if len(b) < headSize || !sealed(b[:headSize]) {
		return h, false
	}
	h.salt = binary.LittleEndian.Uint64(b)
	h.segment = binary.LittleEndian.Uint64(b[8:])
	h.order = binary.LittleEndian.Uint64(b[16:])
	h.first = Place(binary.LittleEndian.Uint64(b[24:]))
	h.place = Place(binary.LittleEndian.Uint64(b[32:]))
	h.count = binary.LittleEndian.Uint32(b[40:])
	h.length = binary.LittleEndian.Uint32(b[44:])
	h.crc = binary.LittleEndian.Uint32(b[48:])
	return h, int64(h.count)*recordHead <= int64(h.length) && h.first <= h.place && h.place < lastPlace
}

// sealed reports whether the last four bytes of b are the CRC of those before.
func sealed(b []byte) bool {
	n := len(b) - 4
	return binary.LittleEndian.Uint32(b[n:]) == crc32.Checksum(b[:n], castagnoli)
}

// recordPrefix returns the bytes in front of a record.
func recordPrefix(salt uint64, record []byte) (p [recordHead]byte) {
	binary.LittleEndian.PutUint32(p[:], uint32(len(record)))
	binary.LittleEndian.PutUint32(p[4:], recordCRC(salt, record))
	return p
}

// recordCRC covers the record's length too, and the salt, so that no
// payload can contain what looks like a record.
func recordCRC(salt uint64, record []byte) uint32 {
	return crc32.Update(uint32(salt)^uint32(salt>>32)^uint32(len(record)), castagnoli, record)
}

// cutRecord takes the first record off b. ok is false if b ends before the record does; good reports
// whether the record's CRC is right.
func cutRecord(salt uint64, b []byte) (record, rest []byte, good, ok bool) {
	if len(b) < recordHead {
		return nil, nil, false, false
	}
	length := int64(binary.LittleEndian.Uint32(b))
	if length > int64(len(b)-recordHead) {
		return nil, nil, false, false
	}
	record, rest = b[recordHead:recordHead+length], b[recordHead+length:]
	return record, rest, binary.LittleEndian.Uint32(b[4:]) == recordCRC(salt, record), true
}
