package proxyproto

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// §2.1: Version 1 is one line of text,
//
//	PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n
//
// with the protocol TCP4, TCP6 or UNKNOWN, source and destination address, source and
// destination port.
const (
	signature1 = "PROXY "
	maxLine    = 107 // bytes, CRLF included (§2.1)
)

// parseLine reads a header of version 1.
func parseLine(b []byte) (Header, int, error) {
	end := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	switch {
	case end < 0 && len(b) < maxLine:
		return Header{}, 0, nil
	case end < 0 || b[end-1] != '\r': // §2.1: not a single LF
		return Header{}, 0, ErrLine
	}
	h, err := parseFields(string(b[len(signature1) : end-1]))
	if err != nil {
		return Header{}, 0, err
	}
	return h, end + 1, nil
}

// parseFields reads the text between the signature and CRLF.
func parseFields(line string) (Header, error) {
	h := Header{Version: 1}
	protocol, rest, _ := strings.Cut(line, " ")
	switch protocol {
	case "UNKNOWN": // §2.1: what follows is ignored
		return h, nil
	case "TCP4", "TCP6":
	default:
		return h, ErrProtocol
	}
	f := strings.Split(rest, " ")
	if len(f) != 4 {
		return h, ErrFields
	}
	var err error
	if h.Source, err = parseEnd(protocol, f[0], f[2]); err != nil {
		return h, err
	}
	h.Destination, err = parseEnd(protocol, f[1], f[3])
	return h, err
}

// parseEnd reads the address and port of one end of the connection.
func parseEnd(protocol, address, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" || a.Is4() != (protocol == "TCP4") {
		return netip.AddrPort{}, ErrAddress
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, ErrPort
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}
