package mqttdiff

import (
	"errors"
	"reflect"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/longline/longline/internal/wire/mqtt"
)

// versions are the versions of a decoder; the fuzzer chooses by index.
var versions = []mqtt.Version{0, mqtt.V3, mqtt.V4, mqtt.V5}

// seed gives f the oracle's own test packets, from both peers and in all versions.
func seed(f *testing.F) {
	for _, cases := range packets.TPacketData {
		for _, c := range cases {
			if len(c.RawBytes) > 2000 {
				continue
			}
			for v := range versions {
				f.Add(uint8(v), false, c.RawBytes)
				f.Add(uint8(v), true, c.RawBytes)
			}
		}
	}
}

// FuzzDifferential: each codec accepts what the other accepts, with equal fields, except for what
// known_test.go lists.
func FuzzDifferential(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, version uint8, fromServer bool, b []byte) {
		d := mqtt.Decoder{Version: versions[version%4], Server: !fromServer}
		var ours mqtt.Packet
		n, err := d.Decode(&ours, b)
		theirs, m, oracleErr := oracle(uint8(d.Version), fromServer, b)
		var rule *mqtt.Error
		switch {
		case errors.As(err, &rule):
			if oracleErr == nil && !excused(rule, mqtt.Type(b[0]>>4)) {
				t.Fatalf("%x: refused with %v; the oracle reads %+v", b, err, theirs)
			}
		case n == 0:
			if oracleErr == nil {
				t.Fatalf("%x: not complete; the oracle reads %+v", b, theirs)
			}
		case oracleErr != nil:
			if strict(d.Version, &ours, oracleErr) == "" {
				t.Fatalf("%x: we read %+v; the oracle refuses: %v", b, &ours, oracleErr)
			}
		case misread(theirs) == "":
			if got, want := seen(d.Version, &ours), seenByOracle(theirs); n != m || !reflect.DeepEqual(got, want) {
				t.Fatalf("%x:\nours   %d %+v\ntheirs %d %+v", b, n, got, m, want)
			}
		}
	})
}
