package mqtt

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// versions are the values of Decoder.Version; the fuzzer chooses by index.
var versions = []Version{0, V3, V4, V5}

// seed adds the samples and packets that break rules: version, sender, bytes.
func seed(f *testing.F) {
	for _, s := range samples {
		f.Add(uint8(slices.Index(versions, s.decoder().Version)), s.fromServer, unhex(f, s.hex))
	}
	for _, b := range slices.Concat(early, late) {
		f.Add(uint8(slices.Index(versions, b.v)), b.fromServer, unhex(f, b.hex))
	}
}

// peer returns a decoder for the packets of a server or a client.
func peer(version uint8, server bool) *Decoder {
	return &Decoder{Version: versions[version%4], Server: !server, MaxPacket: 1 << 20}
}

// FuzzDecode checks that a decoded packet can be appended and decodes to the same; otherwise it breaks a rule.
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

// FuzzSplit checks that each prefix of a packet is either too short or refused like the whole packet.
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

// Oversize needs only the first bytes, however they are split, and agrees with Decode of the whole packet.
func FuzzOversize(f *testing.F) {
	f.Add([]byte("\x32\x08\x00\x01t\x00\x07abc"), 3)
	f.Add([]byte("\x30\x04\x00\x01tx"), 1)
	f.Add([]byte("\x3d\x80\x01\x00\x01t\x00\x07"), 2)
	f.Add([]byte("\x82\x05\x00\x01\x00\x00\x00"), 2)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		d := Decoder{Version: V4, MaxPacket: 1, Server: true}
		o, ok, err := d.Oversize(b)
		if cut = max(0, min(cut, len(b))); cut < len(b) {
			if early, known, e := d.Oversize(b[:cut]); known && (!ok || early != o) || e != nil && !errors.Is(err, e) {
				t.Errorf("%x: %+v %v %v; of %d bytes %+v %v %v", b, o, ok, err, cut, early, known, e)
			}
		}
		d.MaxPacket = 0
		var p Packet
		if n, e := d.Decode(&p, b); e == nil && n > 0 && p.Type == Publish && (!ok || o.Size != n || o.ID != p.ID || o.QoS != p.QoS) {
			t.Errorf("%x: %+v %v %v, is %+v of %d", b, o, ok, err, p, n)
		}
	})
}
