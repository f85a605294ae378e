package topic

import (
	"strings"
	"testing"
)

func TestDeviceID(t *testing.T) {
	for _, tt := range []struct{ client, device string }{
		{"meter-7", "meter-7"},
		{"a:b", "a:b"},
		{"X:", "X:"},
		{"clean retained", "x:clean:20retained"},
		{"x:clean:20retained", "x:x:3Aclean:3A20retained"},
		{"a:b c", "x:a:3Ab:20c"},
		{"é", "x::C3:A9"},
		{"x:", "x:x:3A"},
		{strings.Repeat("a", 128), strings.Repeat("a", 128)},
		{strings.Repeat(" ", 42), "x:" + strings.Repeat(":20", 42)},
		{strings.Repeat("a", 129), ""},
		{strings.Repeat(" ", 128), "x:" + strings.Repeat(":20", 128)},
		{strings.Repeat(" ", 129), ""},
		{"RDAM|123", "x:RDAM:7C123"},
		{"CP/01", "x:CP:2F01"},
		{"", ""},
	} {
		got, err := DeviceID(tt.client)
		if (err == nil) != (tt.device != "") || err == nil && got != tt.device {
			t.Errorf("%q: %q, %v; want %q", tt.client, got, err, tt.device)
		}
		if err == nil && ValidateDevice(got) != nil {
			t.Errorf("%q: %v", got, ValidateDevice(got))
		}
		if again, err := CanonicalDevice(got); tt.device != "" && (err != nil || again != got) {
			t.Errorf("%q is %q, %v", got, again, err)
		}
	}
}

// FuzzDeviceID checks that no two client identifiers give the same device id.
func FuzzDeviceID(f *testing.F) {
	f.Add("a b", "x:a:20b")
	f.Add("é", "\xe9")
	f.Add(":", "x::3A")
	f.Add("x:a:2", "x:::::")
	f.Fuzz(func(t *testing.T, a, b string) {
		one, errOne := DeviceID(a)
		two, errTwo := DeviceID(b)
		if a != b && errOne == nil && errTwo == nil && one == two {
			t.Errorf("%q and %q are %q", a, b, one)
		}
		for _, id := range []string{a, b} { // a valid id is the id of some name, and an invalid one of none
			if ValidateDevice(id) != nil || !strings.HasPrefix(id, escaped) {
				continue
			}
			raw, ok := unescapeDevice(id)
			if back, err := DeviceID(raw); !ok || err != nil || back != id {
				t.Errorf("%q is an id, %q has %q, %v", id, raw, back, err)
			}
		}
		if errOne == nil && ValidateDevice(one) != nil {
			t.Errorf("%q is %q, which is no id", a, one)
		}
	})
}

func TestSpaceOf(t *testing.T) {
	for s, want := range map[string]string{
		"device/m-7/telemetry": "m-7", "device/m-7/#": "m-7", "device/m-7/+/x": "m-7", "device/m-7/": "m-7",
		"device/m-7": "", "device/+/telemetry": "", "device/#": "", "device": "", "devices/m-7/x": "", "/device/m-7/x": "", "device//x": "", "#": "",
	} {
		if got := SpaceOf(s); got != want {
			t.Errorf("SpaceOf(%q) is %q, want %q", s, got, want)
		}
	}
}
