package mqtt

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// versions are what a decoder may be set to; the fuzzer chooses by index.
var versions = []Version{0, V3, V4, V5}

// seed gives f the samples and what breaks rules: version, sender, bytes.
func seed(f *testing.F) {
	for _, s := range samples {
		f.Add(uint8(slices.Index(versions, s.decoder().Version)), s.fromServer, unhex(f, s.hex))
	}
	for _, b := range slices.Concat(early, late) {
		f.Add(uint8(slices.Index(versions, b.v)), b.fromServer, unhex(f, b.hex))
	}
}

// peer returns a decoder of what a server or a client sends.
func peer(version uint8, server bool) *Decoder {
	return &Decoder{Version: versions[version%4], Server: !server, MaxPacket: 1 << 20}
}

// FuzzDecode: what decodes can be appended, and decodes to the same; what does not breaks a rule.
func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, version uint8, server bool, b []byte) {
		d := peer(version, server)
		before := bytes.Clone(b)
		var p Packet
		n, err := d.Decode(&p, b)
		if !bytes.Equal(b, before) {
			t.Fatal("decoding wrote into the buffer")
		}
		var rule *Error
		if err != nil && (!errors.As(err, &rule) || !slices.Contains(rules, rule) || n != 0) {
			t.Fatalf("%d bytes, refused with %v", n, err)
		}
		if n > 0 {
			v := max(d.Version, p.Connect.Version)
			checkRoundTrip(t, d, v, &p)
		}
	})
}

// FuzzSplit: of a packet in pieces, each prefix is either not enough or refused like the whole.
func FuzzSplit(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, version uint8, server bool, b []byte) {
		d := peer(version, server)
		var whole, part Packet
		n, err := d.Decode(&whole, b)
		size, _ := d.Size(b)
		for i := range min(len(b), 300) {
			got, early := d.Decode(&part, b[:i])
			switch {
			case early != nil && !errors.Is(err, early):
				t.Fatalf("%d bytes are refused with %v, all with %v", i, early, err)
			case early == nil && got != 0 && (got != n || got > i || !equal(&part, &whole)):
				t.Fatalf("%d bytes are a packet of %d, all are one of %d", i, got, n)
			}
			if known, _ := d.Size(b[:i]); known != 0 && known != size {
				t.Fatalf("size %d after %d bytes, then %d", known, i, size)
			}
		}
	})
}
