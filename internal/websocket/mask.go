package websocket

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// NewKey returns a masking key. RFC 6455 §5.3 requires an unpredictable one for each
// frame. The runtime's generator is ChaCha8, seeded by the system.
func NewKey() uint32 { return rand.Uint32() }

// mask XORs p with the key, whose lowest byte belongs to the first byte of p, RFC 6455 §5.3.
// It returns the key rotated so that it fits the byte after p.
func mask(p []byte, key uint32) uint32 {
	turn := len(p)
	wide := uint64(key)<<32 | uint64(key)
	for len(p) >= 64 {
		b := (*[64]byte)(p)
		xor8(b[0:8], wide)
		xor8(b[8:16], wide)
		xor8(b[16:24], wide)
		xor8(b[24:32], wide)
		xor8(b[32:40], wide)
		xor8(b[40:48], wide)
		xor8(b[48:56], wide)
		xor8(b[56:64], wide)
		p = p[64:]
	}
	for len(p) >= 8 {
		xor8(p[:8], wide)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= byte(wide >> (8 * i))
	}
	return bits.RotateLeft32(key, -8*(turn&3))
}

func xor8(p []byte, key uint64) {
	binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^key)
}
