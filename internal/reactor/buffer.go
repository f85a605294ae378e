package reactor

// Size classes of borrowed buffers. A connection holds one only while bytes are pending.
const (
	smallBuffer = 1 << 9
	largeBuffer = 1 << 18
	classes     = 10 // 512 B, 1 KiB, ... 256 KiB; larger buffers are left to the garbage collector

	keepBytes = 1 << 20 // the most bytes of unused buffers that a loop keeps per class
)

// pool lends buffers to the connections of one loop. Owned by the loop: no locks.
type pool struct {
	free   [classes][][]byte
	queues []*outbound
	lent   int // buffers and queues that are lent at present
}

func class(n int) int {
	k := 0
	for size := smallBuffer; size < n; size <<= 1 {
		k++
	}
	return k
}

// borrow returns an empty buffer with room for at least n bytes.
func (p *pool) borrow(n int) []byte {
	p.lent++
	k := class(n)
	if k >= classes {
		return make([]byte, 0, n)
	}
	if f := p.free[k]; len(f) > 0 {
		b := f[len(f)-1]
		p.free[k] = f[:len(f)-1]
		return b
	}
	return make([]byte, 0, smallBuffer<<k)
}

// giveBack takes back a buffer that borrow lent.
func (p *pool) giveBack(b []byte) {
	p.lent--
	k := class(cap(b))
	if k < classes && cap(b) == smallBuffer<<k && len(p.free[k]) < keepBytes/(smallBuffer<<k) {
		p.free[k] = append(p.free[k], b[:0])
	}
}

// grow returns b with room for n more bytes, in a larger buffer if necessary.
func (p *pool) grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	nb := append(p.borrow(max(len(b)+n, 2*len(b))), b...)
	p.giveBack(b)
	return nb
}

func (p *pool) borrowOutbound() *outbound {
	p.lent++
	if n := len(p.queues); n > 0 {
		o := p.queues[n-1]
		p.queues = p.queues[:n-1]
		return o
	}
	return &outbound{segments: make([]segment, 0, 4)}
}

func (p *pool) giveBackOutbound(o *outbound) {
	for i := range o.segments {
		if o.segments[i].owned {
			p.giveBack(o.segments[i].bytes)
		}
		o.segments[i] = segment{}
	}
	p.lent--
	if cap(o.segments) <= maxIovecs && len(p.queues) < keepBytes/smallBuffer {
		*o = outbound{segments: o.segments[:0]}
		p.queues = append(p.queues, o)
	}
}
