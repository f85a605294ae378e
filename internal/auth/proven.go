package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// mostProven bounds the remembered credentials, in two generations.
const mostProven = 1 << 19

// proven remembers by 8 bytes of their MAC the credentials that were accepted recently and took time to verify, so that
// the node knows at once which reconnecting devices are who they claim to be. It admits nobody: every credential is still
// verified. Safe from any goroutine.
type proven struct {
	secret []byte // random, per process; static

	// Guarded by mu.
	mu         sync.Mutex
	young, old map[uint64]struct{}
}

func newProven() *proven {
	p := &proven{secret: make([]byte, sha256.Size)}
	rand.Read(p.secret)
	return p
}

func (p *proven) add(c *Credentials) {
	key := p.key(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.young == nil || len(p.young) >= mostProven {
		p.old, p.young = p.young, make(map[uint64]struct{})
	}
	p.young[key] = struct{}{}
}

func (p *proven) has(c *Credentials) bool {
	key := p.key(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, young := p.young[key]
	_, old := p.old[key]
	return young || old
}

// key returns the key of credentials together with the device that they claim.
func (p *proven) key(c *Credentials) uint64 {
	h := hmac.New(sha256.New, p.secret)
	for _, part := range []string{c.Device, c.Bearer, c.Username, c.Password} {
		writePart(h, []byte(part))
	}
	if len(c.Certificates) > 0 {
		writePart(h, c.Certificates[0].Raw)
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// writePart writes the length too, so that no two lists of parts give the same bytes.
func writePart(h hash.Hash, part []byte) {
	_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))) // a hash has no errors
	_, _ = h.Write(part)
}
