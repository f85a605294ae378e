package fleet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
)

// devicesASource is how many devices share a source address by default. The kernel has
// 28,232 ephemeral ports for each pair of source address and destination, including those
// in TIME_WAIT. It searches for a free one port by port, first in one half of
// them: when 14,000 are in use, that half is full, and each connect searches thousands of ports.
const devicesASource = 10_000

// sources is a range of IPv4 addresses to connect from. With the zero value the kernel
// chooses.
type sources struct {
	first netip.Addr
	count uint32
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// parseSources reads Config.Source for so many devices that connect to addr.
func parseSources(s string, devices int, to netip.Addr) (sources, error) {
	if s == "" {
		return defaultSources(devices, to), nil
	}
	parsed, ok := sourceRange(s)
	switch {
	case !ok:
		return sources{}, fmt.Errorf("source %q: want an IPv4 address, a prefix such as 127.0.0.0/24, or a number of loopback addresses", s)
	case !to.Is4():
		return sources{}, fmt.Errorf("source %q: the gateway's address %v is not IPv4", s, to)
	case to.IsLoopback() != parsed.first.IsLoopback():
		return sources{}, fmt.Errorf("source %q: no connection leads from there to %v", s, to)
	}
	return parsed, nil
}

func defaultSources(devices int, to netip.Addr) sources {
	if devices <= devicesASource || !to.Is4() || !to.IsLoopback() {
		return sources{}
	}
	return sources{loopback, uint32((devices + devicesASource - 1) / devicesASource)}
}

func sourceRange(s string) (sources, bool) {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return sources{loopback, uint32(n)}, n > 0
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return sources{a, 1}, a.Is4()
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || p.Bits() == 0 {
		return sources{}, false
	}
	first, size := p.Masked().Addr(), uint32(1)<<(32-p.Bits())
	if size <= 2 { // RFC 3021: such a prefix has no network and broadcast address
		return sources{first, size}, true
	}
	return sources{first.Next(), size - 2}, true
}

// at returns the address of the i-th device.
func (s sources) at(i uint32) netip.Addr {
	if s.count == 0 {
		return netip.Addr{}
	}
	b := s.first.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+i%s.count)
	return netip.AddrFrom4(b)
}
