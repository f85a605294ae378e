package proxyproto

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Trusted are the addresses of proxies whose statements about clients are believed. The zero
// value trusts nobody.
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

// parsePrefix reads a prefix; an address is a prefix of its full length.
func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if a.Zone() != "" {
		err = errors.New("an address with a zone is only valid on its host")
	}
	return netip.PrefixFrom(a, a.BitLen()), err
}

// Contains reports whether a is trusted.
func (t Trusted) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ForwardedFor returns the client's address, given remote, the address of the socket, and the values of
// the X-Forwarded-For fields in their order. Each proxy appends the address of its peer, so
// the list is believed from the right, for as long as the proxy that wrote an entry is trusted: the
// first address that is not trusted is the client's. An entry that is no address ends the walk at the proxy
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

// cutLast cuts a list at its last comma; more reports whether there was one.
func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], list[i+1:], i >= 0
}

// parseHop reads an address, with or without port and brackets: proxies differ.
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
