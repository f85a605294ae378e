package proxyproto

import (
	"net/netip"
	"strings"
	"testing"
)

func trust(t testing.TB, list ...string) Trusted {
	t.Helper()
	all, err := ParseTrusted(list)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTrusted(t *testing.T) {
	list := trust(t, "10.1.2.3/8", "192.0.2.7", "2001:db8::/32")
	for address, want := range map[string]bool{
		"10.255.0.1":      true, // the prefix decides, not its host part
		"::ffff:10.0.0.1": true,
		"11.0.0.1":        false,
		"192.0.2.7":       true,
		"192.0.2.8":       false,
		"2001:db8::1%en0": true,
		"2001:db9::1":     false,
	} {
		if got := list.Contains(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	if Trusted(nil).Contains(netip.MustParseAddr("10.0.0.1")) || list.Contains(netip.Addr{}) {
		t.Error("nobody is trusted by nobody")
	}
}

func TestParseTrustedRefuses(t *testing.T) {
	for _, s := range []string{"", "10.0.0.0/33", "10.0.0", "proxy.example", "fe80::1%eth0", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1"} {
		if _, err := ParseTrusted([]string{"10.0.0.0/8", s}); err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestForwardedFor(t *testing.T) {
	list := trust(t, "10.0.0.0/8", "fd00::/8")
	for _, tt := range []struct {
		name   string
		header []string
		remote string
		want   string
	}{
		{"no header", nil, "10.0.0.1", "10.0.0.1"},
		{"one proxy", []string{"203.0.113.9"}, "10.0.0.1", "203.0.113.9"},
		{"a stranger is not believed", []string{"203.0.113.9"}, "198.51.100.1", "198.51.100.1"},
		{"what the client wrote is not believed", []string{"1.1.1.1, 203.0.113.9"}, "10.0.0.1", "203.0.113.9"},
		{"two proxies", []string{"1.1.1.1, 203.0.113.9 ,\t10.0.0.2"}, "10.0.0.1", "203.0.113.9"},
		{"two fields", []string{"1.1.1.1, 203.0.113.9", "10.0.0.2"}, "10.0.0.1", "203.0.113.9"},
		{"all are trusted", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.1", "10.0.0.3"},
		{"junk ends the walk", []string{"203.0.113.9, unknown, 10.0.0.2"}, "10.0.0.1", "10.0.0.2"},
		{"nothing ends the walk", []string{"203.0.113.9,"}, "10.0.0.1", "10.0.0.1"},
		{"half a bracket ends the walk", []string{"[2001:db8::1"}, "10.0.0.1", "10.0.0.1"},
		{"port", []string{"203.0.113.9:4711"}, "10.0.0.1", "203.0.113.9"},
		{"IPv6", []string{"2001:db8::1, fd00::2"}, "fd00::1", "2001:db8::1"},
		{"IPv6 in brackets", []string{"[2001:db8::1]"}, "10.0.0.1", "2001:db8::1"},
		{"IPv6 with port", []string{"[2001:db8::1]:4711"}, "10.0.0.1", "2001:db8::1"},
		{"mapped", []string{"::ffff:203.0.113.9"}, "::ffff:10.0.0.1", "203.0.113.9"},
	} {
		if got := ForwardedFor(tt.header, netip.MustParseAddr(tt.remote), list); got != netip.MustParseAddr(tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
}

// FuzzForwardedFor checks that a client that is not a trusted proxy keeps its own address whatever it sends; that behind a
// proxy, entries before the last one change nothing if that one is not trusted; and that a list gives
// the same result in one field and in two.
func FuzzForwardedFor(f *testing.F) {
	f.Add("1.1.1.1, 203.0.113.9", "10.0.0.2")
	f.Add("[2001:db8::1]:4711", "unknown")
	f.Add("fe80::1%eth0", "::ffff:10.0.0.3")
	f.Add("", ",")
	list, remote := trust(f, "10.0.0.0/8"), netip.MustParseAddr("10.0.0.1")
	stranger := netip.MustParseAddr("203.0.113.9")
	f.Fuzz(func(t *testing.T, first, second string) {
		both := []string{first, second}
		if got := ForwardedFor(both, stranger, list); got != stranger {
			t.Fatalf("a stranger became %v", got)
		}
		if got := ForwardedFor(append(both, stranger.String()), remote, list); got != stranger {
			t.Fatalf("what a stranger wrote made him %v", got)
		}
		got := ForwardedFor(both, remote, list)
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%v is nobody", got)
		}
		if joined := ForwardedFor([]string{first + "," + second}, remote, list); joined != got {
			t.Fatalf("%v in two fields, %v in one", got, joined)
		}
	})
}
