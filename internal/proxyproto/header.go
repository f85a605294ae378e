// Package proxyproto finds the address of a client behind a proxy: from a PROXY protocol header in front of the
// first byte of a connection, or from X-Forwarded-For. It does no I/O.
//
// The specification is HAProxy's doc/proxy-protocol.txt. Only the addresses that the
// configuration names may send a header (§5): anybody else could claim any address.
// A connection from such an address must begin with a header; nothing is guessed.
package proxyproto

import (
	"bytes"
	"errors"
	"net/netip"
)

// Header is what a proxy states about a connection.
type Header struct {
	Version int // 1 or 2

	// Source and Destination are the ends of the proxied connection. They are invalid when
	// the proxy does not state them, or connects for itself, as in its health checks: then the addresses of
	// the socket count. (§2.1 UNKNOWN, §2.2 LOCAL and UNSPEC)
	Source, Destination netip.AddrPort
}

// MaxLength bounds a header in bytes. Version 2 allows 64 KiB, but addresses and the TLVs that
// known proxies add take a few hundred.
const MaxLength = 4 << 10

// The errors of a header. All of them end the connection (§2.1, §2.2).
var (
	ErrNoHeader  = errors.New("proxy protocol: the connection does not begin with a PROXY header")
	ErrLine      = errors.New("proxy protocol: the line is longer than 107 bytes or does not end with CRLF")
	ErrProtocol  = errors.New("proxy protocol: the line's protocol is not TCP4, TCP6 or UNKNOWN")
	ErrFields    = errors.New("proxy protocol: the line does not have exactly two addresses and two ports, each after one space")
	ErrAddress   = errors.New("proxy protocol: an address is not of the line's family")
	ErrPort      = errors.New("proxy protocol: a port is not a number from 0 to 65535 without leading zeros")
	ErrVersion   = errors.New("proxy protocol: the version is not 2")
	ErrCommand   = errors.New("proxy protocol: the command is not LOCAL or PROXY")
	ErrFamily    = errors.New("proxy protocol: the address family or the transport is not assigned")
	ErrTooLong   = errors.New("proxy protocol: the header is longer than 4 KiB")
	ErrTruncated = errors.New("proxy protocol: the header is shorter than its addresses")
	ErrTLV       = errors.New("proxy protocol: a type-length-value extends beyond the end of the header")
	ErrChecksum  = errors.New("proxy protocol: the checksum is wrong")
)

// Parse reads the header at the beginning of b and returns its length n. If b is only the
// beginning of a header, n and err are zero and more bytes are needed, never more than MaxLength
// in total.
func Parse(b []byte) (h Header, n int, err error) {
	switch {
	case begins(b, signature1):
		return parseLine(b)
	case begins(b, signature2):
		return parseBinary(b)
	}
	return Header{}, 0, ErrNoHeader
}

// begins reports whether b begins with signature, or is a part of it so far.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return bytes.Equal(b[:n], []byte(signature[:n]))
}
