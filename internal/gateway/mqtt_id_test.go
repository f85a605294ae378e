package gateway

import (
	"strings"
	"testing"
)

func TestMQTTDeviceID(t *testing.T) {
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
		{strings.Repeat(" ", 43), ""},
	} {
		got, err := mqttDeviceID(tt.client)
		if (err == nil) != (tt.device != "") || err == nil && got != tt.device {
			t.Errorf("%q: %q, %v; want %q", tt.client, got, err, tt.device)
		}
	}
}

// FuzzMQTTDeviceID: no two client identifiers name one device.
func FuzzMQTTDeviceID(f *testing.F) {
	f.Add("a b", "x:a:20b")
	f.Add("é", "\xe9")
	f.Add(":", "x::3A")
	f.Fuzz(func(t *testing.T, a, b string) {
		one, errOne := mqttDeviceID(a)
		two, errTwo := mqttDeviceID(b)
		if a != b && errOne == nil && errTwo == nil && one == two {
			t.Errorf("%q and %q are %q", a, b, one)
		}
	})
}
