package limit

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
)

// The refusals of Count.
var (
	NodeFull    = &Refusal{"node_connections", "the node has reached its limit of connections"}
	AddressFull = &Refusal{"address_connections", "too many connections from this address"}
	PrefixFull  = &Refusal{"prefix_connections", "too many connections of devices with this prefix"}
)

// Count counts connections: all, those per source address, and those per configured prefix of
// device ids. All methods are safe from any goroutine. Its memory is bounded
// by the connections that it counts: it forgets an address without any.
type Count struct {
	// Static after construction.
	perNode, perAddress int
	prefixes            Prefixes

	// Safe from any goroutine.
	devices []prefixCount // per prefix

	// Guarded by mu.
	mu      sync.Mutex
	node    int
	sources map[Source]int32
	refused [2]uint64 // by the limit of the node, by that of addresses
}

// prefixCount counts the devices of one prefix.
type prefixCount struct {
	used    atomic.Int64
	refused atomic.Uint64
}

// Source is what counts as one address: an IPv4 address, or an IPv6 /64, which
// one customer has. It takes 8 bytes, so that a connection can keep it.
type Source uint64

// SourceOf returns the Source of addr. IPv4 addresses, also mapped ones, take the values of the /64s in
// ::/32, which nobody has: IANA's registry of the IPv6 address space reserves ::/8.
func SourceOf(addr netip.Addr) Source {
	if addr = addr.Unmap(); addr.Is4() {
		b := addr.As4()
		return Source(binary.BigEndian.Uint32(b[:]))
	}
	b := addr.As16()
	return Source(binary.BigEndian.Uint64(b[:8]))
}

// NewCount returns a Count with the limits of c, which is valid.
func NewCount(c CountConfig) (*Count, error) {
	prefixes, err := ParsePrefixes(c.PerPrefix)
	if err != nil {
		return nil, err
	}
	return &Count{
		perNode: c.Node, perAddress: c.PerAddress,
		prefixes: prefixes, devices: make([]prefixCount, len(prefixes)),
		sources: make(map[Source]int32),
	}, nil
}

// Acquire counts a connection from s, or refuses it with NodeFull or AddressFull. If it returns
// nil, the caller calls Release when the connection has ended.
func (k *Count) Acquire(s Source) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.perNode > 0 && k.node >= k.perNode {
		k.refused[0]++
		return NodeFull
	}
	if k.perAddress > 0 {
		if int(k.sources[s]) >= k.perAddress {
			k.refused[1]++
			return AddressFull
		}
		k.sources[s]++
	}
	k.node++
	return nil
}

// Release undoes an Acquire that returned nil.
func (k *Count) Release(s Source) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.node--
	if k.perAddress == 0 {
		return
	}
	if k.sources[s]--; k.sources[s] == 0 {
		delete(k.sources, s)
	}
}

// AcquireDevice counts a connected device under the longest matching prefix of its id, or
// refuses it with PrefixFull. A connection that takes over from another keeps the count of that one:
// a device must not be refused because of its own dead connection.
func (k *Count) AcquireDevice(id string) error {
	at := k.prefixes.Find(id)
	if at < 0 {
		return nil
	}
	for p := &k.devices[at]; ; {
		used := p.used.Load()
		if used >= k.prefixes[at].Limit {
			p.refused.Add(1)
			return PrefixFull
		}
		if p.used.CompareAndSwap(used, used+1) {
			return nil
		}
	}
}

// ReleaseDevice undoes an AcquireDevice of the same id that returned nil.
func (k *Count) ReleaseDevice(id string) {
	if at := k.prefixes.Find(id); at >= 0 {
		k.devices[at].used.Add(-1)
	}
}

// Connections returns how many connections k counts.
func (k *Count) Connections() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.node
}

// CountStats is what a Count counts and refused.
type CountStats struct {
	Connections int               // all
	Addresses   int               // with connections; 0 when addresses have no limit
	Prefixes    map[string]int    // connections per prefix
	Refused     map[string]uint64 // by Refusal.Label
}

// Stats returns what k counts and refused.
func (k *Count) Stats() CountStats {
	s := CountStats{Prefixes: make(map[string]int), Refused: make(map[string]uint64)}
	s.Refused[PrefixFull.Label] = 0
	for i, p := range k.prefixes {
		s.Prefixes[p.Text] = int(k.devices[i].used.Load())
		s.Refused[PrefixFull.Label] += k.devices[i].refused.Load()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s.Connections, s.Addresses = k.node, len(k.sources)
	s.Refused[NodeFull.Label], s.Refused[AddressFull.Label] = k.refused[0], k.refused[1]
	return s
}
