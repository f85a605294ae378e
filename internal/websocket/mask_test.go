package websocket

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// naive masks literally as RFC 6455 §5.3 says.
func naive(p []byte, key uint32) {
	var octets [4]byte
	binary.LittleEndian.PutUint32(octets[:], key)
	for i := range p {
		p[i] ^= octets[i%4]
	}
}

// The payload may be masked in two parts, split anywhere.
func compareMask(t *testing.T, p []byte, key uint32, cut int) {
	t.Helper()
	want, got := bytes.Clone(p), bytes.Clone(p)
	naive(want, key)
	mask(got[cut:], mask(got[:cut], key))
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes cut at %d: %x, want %x", len(p), cut, got, want)
	}
}

func TestMask(t *testing.T) {
	p := bytes.Repeat([]byte("longline"), 20)
	for n := range p {
		for _, cut := range []int{0, 1, n / 3, n} {
			compareMask(t, p[:n], 0xA1B2C3D4, min(cut, n))
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add([]byte("hello"), uint32(0x12345678), 2)
	f.Add(bytes.Repeat([]byte{0xFF}, 131), uint32(0xDEADBEEF), 65)
	f.Fuzz(func(t *testing.T, p []byte, key uint32, cut int) {
		compareMask(t, p, key, max(0, cut)%(len(p)+1))
	})
}
