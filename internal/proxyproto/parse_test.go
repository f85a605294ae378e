package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// block returns a version 2 header with the right length.
func block(versionCommand, family byte, rest string) string {
	b := append([]byte(signature2), versionCommand, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rest)))
	return string(b) + rest
}

// tlv returns one type-length-value.
func tlv(kind byte, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))) + value
}

// sealed returns a header with a checksum at its end.
func sealed(family byte, rest string) string {
	b := []byte(block(0x21, family, rest+tlv(typeCRC32C, "\x00\x00\x00\x00")))
	binary.BigEndian.PutUint32(b[len(b)-4:], checksum(b, len(b)-4))
	return string(b)
}

const (
	inet  = "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb"
	inet6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xdc\x04\x01\xbb"
)

// whole are valid headers: source and destination, empty if the addresses of the socket count.
var whole = []struct{ name, in, source, destination string }{
	{"the example of §2.1", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324", "192.168.0.11:443"},
	{"TCP6", "PROXY TCP6 2001:db8::1 2001:DB8::2 0 65535\r\n", "[2001:db8::1]:0", "[2001:db8::2]:65535"},
	{"mapped", "PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n", "[::ffff:10.0.0.1]:1", "[::1]:2"},
	{"the longest line", "PROXY UNKNOWN " + strings.Repeat("f", 107-16) + "\r\n", "", ""},
	{"the shortest line", "PROXY UNKNOWN\r\n", "", ""},
	{"inet stream", block(0x21, 0x11, inet), "192.168.0.1:56324", "192.168.0.11:443"},
	{"inet6 stream", block(0x21, 0x21, inet6), "[2001:db8::1]:56324", "[2001:db8::2]:443"},
	{"inet datagram", block(0x21, 0x12, inet), "192.168.0.1:56324", "192.168.0.11:443"},
	{"unix", block(0x21, 0x31, strings.Repeat("u", 216)), "", ""},
	{"local", block(0x20, 0x00, ""), "", ""},
	{"local: family and block are ignored", block(0x20, 0xff, "junk"), "", ""},
	{"unspecified family", block(0x21, 0x00, "junk"), "", ""},
	{"unspecified transport", block(0x21, 0x10, inet), "", ""},
	{"values are skipped", block(0x21, 0x11, inet+tlv(0x01, "h2")+tlv(0x04, "")), "192.168.0.1:56324", "192.168.0.11:443"},
	{"checksum", sealed(0x21, inet6+tlv(0x05, "id")), "[2001:db8::1]:56324", "[2001:db8::2]:443"},
	{"the longest block", block(0x21, 0x11, inet+tlv(0x04, strings.Repeat("x", MaxLength-fixed-12-3))), "192.168.0.1:56324", "192.168.0.11:443"},
}

func TestParse(t *testing.T) {
	for _, tt := range whole {
		h, n, err := Parse([]byte(tt.in + "GET /"))
		if err != nil || n != len(tt.in) {
			t.Errorf("%s: %d bytes of %d, %v", tt.name, n, len(tt.in), err)
			continue
		}
		if end(h.Source) != tt.source || end(h.Destination) != tt.destination {
			t.Errorf("%s: %v to %v", tt.name, h.Source, h.Destination)
		}
		for cut := range len(tt.in) {
			if h, n, err := Parse([]byte(tt.in[:cut])); n != 0 || err != nil || h != (Header{}) {
				t.Fatalf("%s: %d bytes of %d gave %v, %d, %v", tt.name, cut, len(tt.in), h, n, err)
			}
		}
	}
}

func end(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// refused are invalid headers.
var refused = []struct {
	in  string
	err error
}{
	{"GET / HTTP/1.1\r\n", ErrNoHeader},
	{"\x16\x03\x01", ErrNoHeader},
	{"PROXY\r\n", ErrNoHeader},
	{"PROXYTCP4", ErrNoHeader},
	{signature2[:11] + "\r", ErrNoHeader},
	{"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", ErrLine},
	{"PROXY UNKNOWN " + strings.Repeat("f", 107-15) + "\r\n", ErrLine},
	{"PROXY UNKNOWN " + strings.Repeat("f", 107), ErrLine},
	{"PROXY \r\n", ErrProtocol},
	{"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", ErrProtocol},
	{"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", ErrProtocol},
	{"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", ErrFields},
	{"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", ErrFields},
	{"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", ErrFields},
	{"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n", ErrAddress},
	{"PROXY TCP4 ::1 ::2 1 2\r\n", ErrAddress},
	{"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", ErrAddress},
	{"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n", ErrAddress},
	{"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", ErrPort},
	{"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", ErrPort},
	{"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", ErrPort},
	{"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n", ErrPort},
	{signature2 + "\x11", ErrVersion},
	{signature2 + "\x22", ErrCommand},
	{signature2 + "\x21\x41", ErrFamily},
	{signature2 + "\x21\x13", ErrFamily},
	{signature2 + "\x20\x00\xff\xff", ErrTooLong},
	{signature2 + "\x21\x11\x0f\xf1", ErrTooLong},
	{block(0x21, 0x11, inet[:11]), ErrTruncated},
	{block(0x21, 0x21, inet6[:35]), ErrTruncated},
	{block(0x21, 0x31, "short"), ErrTruncated},
	{block(0x21, 0x11, inet+"\x04\x00"), ErrTLV},
	{block(0x21, 0x11, inet+"\x04\x00\x02x"), ErrTLV},
	{block(0x21, 0x11, inet+tlv(typeCRC32C, "\x00\x00\x00\x00")), ErrChecksum},
	{block(0x21, 0x11, inet+tlv(typeCRC32C, "")), ErrChecksum},
	{strings.Replace(sealed(0x11, inet), "\xc0\xa8\x00\x01", "\xc0\xa8\x00\x02", 1), ErrChecksum},
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range refused {
		if _, n, err := Parse([]byte(tt.in)); !errors.Is(err, tt.err) || n != 0 {
			t.Errorf("%q: %v, want %v", tt.in, err, tt.err)
		}
	}
}

// The check value of CRC-32C is from RFC 3720 §B.4: 32 bytes of zeros.
func TestChecksum(t *testing.T) {
	b := make([]byte, 32)
	copy(b[8:], "\xff\xff\xff\xff") // they count as zeros
	if sum := checksum(b, 8); sum != 0x8a9136aa {
		t.Errorf("%#x", sum)
	}
}

// FuzzParse checks that any prefix of the bytes gives the same result or asks for more bytes, never more than
// MaxLength, and that a valid header stays the same when it is written again, in both versions.
func FuzzParse(f *testing.F) {
	for _, tt := range whole {
		f.Add([]byte(tt.in), uint16(len(tt.in)/2))
	}
	for _, tt := range refused {
		f.Add([]byte(tt.in), uint16(len(tt.in)/2))
	}
	f.Fuzz(func(t *testing.T, b []byte, split uint16) {
		h, n, err := Parse(b)
		if n < 0 || n > min(len(b), MaxLength) || err != nil && n != 0 {
			t.Fatalf("%d bytes of %d, %v", n, len(b), err)
		}
		if err == nil && n == 0 && len(b) >= MaxLength {
			t.Fatalf("wants more than %d bytes", len(b))
		}
		cut := min(int(split), len(b))
		h2, n2, err2 := Parse(b[:cut])
		if (n2 != 0 || err2 != nil) && (h2 != h || n2 != n || !errors.Is(err2, err)) {
			t.Fatalf("%d bytes say %v, %d, %v; all say %v, %d, %v", cut, h2, n2, err2, h, n, err)
		}
		if n != 0 {
			checkRoundTrip(t, h)
		}
	})
}

func checkRoundTrip(t *testing.T, h Header) {
	for version, text := range map[int]string{1: line(h), 2: binaryHeader(h)} {
		back, n, err := Parse([]byte(text))
		if err != nil || n != len(text) || back != (Header{version, h.Source, h.Destination}) {
			t.Fatalf("%q: %+v, %d, %v; want %+v", text, back, n, err, h)
		}
	}
}

// line writes h in version 1.
func line(h Header) string {
	if !h.Source.IsValid() {
		return "PROXY UNKNOWN\r\n"
	}
	protocol := "TCP6"
	if h.Source.Addr().Is4() {
		protocol = "TCP4"
	}
	return fmt.Sprintf("PROXY %s %v %v %d %d\r\n", protocol, h.Source.Addr(), h.Destination.Addr(), h.Source.Port(), h.Destination.Port())
}

// binaryHeader writes h in version 2.
func binaryHeader(h Header) string {
	if !h.Source.IsValid() {
		return block(0x20, 0, "")
	}
	family := byte(0x21)
	if h.Source.Addr().Is4() {
		family = 0x11
	}
	b := append(h.Source.Addr().AsSlice(), h.Destination.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, h.Source.Port())
	return sealed(family, string(binary.BigEndian.AppendUint16(b, h.Destination.Port())))
}
