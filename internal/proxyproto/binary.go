package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
)

// §2.2: Version 2 is a header of 16 bytes, then as many bytes as its length says: addresses and ports in network
// order, then type-length-values.
//
//	signature (12) | version, command (4 bits each) | family, transport (4 bits each) | length (2)
const (
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixed      = 16
)

// §2.2: commands, families and transports.
const (
	commandLocal = 0 // the proxy speaks for itself
	commandProxy = 1

	familyUnspec = 0
	familyInet   = 1
	familyInet6  = 2
	familyUnix   = 3

	transportUnspec   = 0
	transportDatagram = 2 // the largest assigned value
)

// typeCRC32C is the type of the only TLV that this package reads (§2.2.3).
const typeCRC32C = 0x03

// parseBinary reads a header of version 2. It reports an error as soon as the wrong byte has
// arrived, but reads the addresses only when all of them have (§2.2).
func parseBinary(b []byte) (Header, int, error) {
	if err := checkFixed(b); err != nil || len(b) < fixed {
		return Header{}, 0, err
	}
	n := fixed + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case n > MaxLength:
		return Header{}, 0, ErrTooLong
	case len(b) < n:
		return Header{}, 0, nil
	}
	h, err := parseBlock(b[:n])
	if err != nil {
		return Header{}, 0, err
	}
	return h, n, nil
}

// checkFixed checks version, command, family and transport, as far as they have arrived.
func checkFixed(b []byte) error {
	if len(b) > 12 {
		if b[12]>>4 != 2 {
			return ErrVersion
		}
		if b[12]&15 > commandProxy {
			return ErrCommand
		}
	}
	// §2.2: a LOCAL header's family is ignored.
	if len(b) > 13 && b[12]&15 != commandLocal && (b[13]>>4 > familyUnix || b[13]&15 > transportDatagram) {
		return ErrFamily
	}
	return nil
}

// parseBlock reads the addresses and the type-length-values of a whole header.
func parseBlock(b []byte) (Header, error) {
	h := Header{Version: 2}
	family := b[13] >> 4
	if b[12]&15 == commandLocal {
		return h, nil // §2.2: the block is discarded
	}
	length := [...]int{familyUnspec: 0, familyInet: 12, familyInet6: 36, familyUnix: 216}[family]
	if len(b) < fixed+length {
		return h, ErrTruncated
	}
	if family == familyUnspec {
		return h, nil // the specification defines no addresses for this family
	}
	if b[13]&15 != transportUnspec {
		h.Source, h.Destination = ends(family, b[fixed:fixed+length])
	}
	return h, checkTLVs(b, fixed+length)
}

// ends reads both addresses, then both ports. It ignores the addresses of Unix sockets.
func ends(family byte, b []byte) (source, destination netip.AddrPort) {
	if family == familyUnix {
		return source, destination
	}
	size := (len(b) - 4) / 2
	end := func(address, port []byte) netip.AddrPort {
		a, _ := netip.AddrFromSlice(address) // 4 or 16 bytes
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
	}
	return end(b[:size], b[2*size:]), end(b[size:2*size], b[2*size+2:])
}

// checkTLVs skips the type-length-values from at on; a checksum must be right (§2.2.3).
func checkTLVs(b []byte, at int) error {
	for at < len(b) {
		if len(b)-at < 3 {
			return ErrTLV
		}
		value := at + 3
		end := value + int(binary.BigEndian.Uint16(b[at+1:]))
		if end > len(b) {
			return ErrTLV
		}
		if b[at] == typeCRC32C && (end-value != 4 || checksum(b, value) != binary.BigEndian.Uint32(b[value:])) {
			return ErrChecksum
		}
		at = end
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the CRC32C of b with the 4 bytes at field, the checksum's own, set to zero.
func checksum(b []byte, field int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:field])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[field+4:])
}
