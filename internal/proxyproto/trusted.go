package proxyproto

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Trusted are the addresses that are believed when they tell whom they speak for. The zero
// value believes nobody.
type Trusted []netip.Prefix

// ParseTrusted reads addresses, such as 10.0.0.7, and prefixes, such as 10.0.0.0/8.
func ParseTrusted(list []string) (Trusted, error) {
	var t Trusted
	for _, s := range list {
		p, err := parsePrefix(s)
		if err != nil || p.Addr().Is4In6() { // addresses are compared unmapped
			return nil, fmt.Errorf("%q: want an address or a prefix such as 10.0.0.0/8", s)
		}
		t = append(t, p.Masked())
	}
	return t, nil
}

// parsePrefix reads a prefix, or an address as one of its whole length.
func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if a.Zone() != "" {
		err = errors.New("an address with a zone is a host's own")
	}
	return netip.PrefixFrom(a, a.BitLen()), err
}

// Contains tells whether a is believed.
func (t Trusted) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ForwardedFor returns who is behind remote, the address of the socket, by the values of
// the X-Forwarded-For fields in their order. Each proxy adds at the end whom it heard, so
// the list is believed from the right for as long as those who wrote it are trusted: the
// first address that is not is the client's. What is no address ends the walk at the proxy
// that wrote it.
func ForwardedFor(header []string, remote netip.Addr, trusted Trusted) netip.Addr {
	for i := len(header) - 1; i >= 0; i-- {
		for rest, more := header[i], true; more; {
			if !trusted.Contains(remote) {
				return remote
			}
			var hop string
			rest, hop, more = cutLast(rest)
			a, ok := parseHop(hop)
			if !ok {
				return remote
			}
			remote = a
		}
	}
	return remote
}

// cutLast cuts a list at its last comma; more tells that there was one.
func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], list[i+1:], i >= 0
}

// parseHop reads an address, with a port and brackets or without: proxies differ.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
		s = strings.TrimSuffix(inner, "]")
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}
