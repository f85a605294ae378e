package fleet

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/longline/longline/internal/wire"
)

func TestBackoff(t *testing.T) {
	most := func(n int64) int64 { return n - 1 }
	least := func(int64) int64 { return 0 }
	b := Backoff{}
	b.setDefaults()
	for tries, want := range []int{2, 4, 8, 16, 30, 30, 30, 30, 30, 30} {
		if got, ok := b.Wait(tries, 0, most); !ok || got != time.Duration(want)*time.Second {
			t.Errorf("after %d tries at most %v, %v, want %d s", tries, got, ok, want)
		}
		if got, ok := b.Wait(tries, 0, least); !ok || got != 0 {
			t.Errorf("after %d tries at least %v, %v, want 0", tries, got, ok)
		}
	}
	if _, ok := b.Wait(10, 0, most); ok {
		t.Error("there is an 11th try")
	}
	if got, _ := b.Wait(3, time.Minute, most); got != 62*time.Second {
		t.Errorf("asked for a minute: at most %v, want 62 s", got)
	}
	if got, _ := b.Wait(3, 100*time.Hour, least); got != maxAsked {
		t.Errorf("asked for 100 hours: %v, want %v", got, maxAsked)
	}
	endless := Backoff{MaxTries: -1}
	endless.setDefaults()
	if got, ok := endless.Wait(1000, 0, most); !ok || got != 30*time.Second {
		t.Errorf("without end: %v, %v", got, ok)
	}
}

func TestAskedDelay(t *testing.T) {
	for reason, want := range map[string]time.Duration{
		"":                                 0,
		"retry after 12s":                  12 * time.Second,
		"drained; Retry after 500ms.":      500 * time.Millisecond,
		"overload (retry after 1m) please": time.Minute,
		"retry after -5s":                  0,
		"retry after 12":                   0,
		"retry after":                      0,
		"5s":                               0,
	} {
		if got := wire.AskedDelay(reason); got != want {
			t.Errorf("%q: %v, want %v", reason, got, want)
		}
	}
}

func TestSources(t *testing.T) {
	gateway, loop := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("127.0.0.1")
	for _, tt := range []struct {
		source  string
		devices int
		to      netip.Addr
		first   []string // addresses of the first devices; "" means that the kernel chooses
		n       int      // number of different addresses
	}{
		{"", 10_000, loop, []string{"", ""}, 1},
		{"", 10_001, loop, []string{"127.0.0.1", "127.0.0.2", "127.0.0.1"}, 2},
		{"", 1_000_000, loop, []string{"127.0.0.1"}, 100},
		{"", 1_000_000, gateway, []string{""}, 1},
		{"", 1_000_000, netip.IPv6Loopback(), []string{""}, 1},
		{"3", 10, loop, []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"}, 3},
		{"192.0.2.7", 2, gateway, []string{"192.0.2.7", "192.0.2.7"}, 1},
		{"192.0.2.9/30", 4, gateway, []string{"192.0.2.9", "192.0.2.10", "192.0.2.9"}, 2},
		{"192.0.2.8/31", 4, gateway, []string{"192.0.2.8", "192.0.2.9"}, 2},
		{"192.0.2.8/32", 4, gateway, []string{"192.0.2.8"}, 1},
		{"127.0.0.0/8", 1000, loop, []string{"127.0.0.1"}, 1000},
	} {
		s, err := parseSources(tt.source, tt.devices, tt.to)
		if err != nil {
			t.Errorf("%q: %v", tt.source, err)
			continue
		}
		all := make(map[netip.Addr]bool)
		for i := range tt.devices {
			all[s.at(uint32(i))] = true
		}
		if len(all) != tt.n {
			t.Errorf("%q, %d devices: %d addresses, want %d", tt.source, tt.devices, len(all), tt.n)
		}
		for i, want := range tt.first {
			if got := s.at(uint32(i)); got.IsValid() != (want != "") || want != "" && got.String() != want {
				t.Errorf("%q: device %d from %v, want %q", tt.source, i, got, want)
			}
		}
	}
	for _, bad := range []string{"0", "-1", "x", "::1", "127.0.0.1/33", "0.0.0.0/0", "192.0.2.1", "99999999999"} {
		if s, err := parseSources(bad, 1, loop); err == nil {
			t.Errorf("%q: %v", bad, s)
		}
	}
	if _, err := parseSources("127.0.0.2", 1, netip.IPv6Loopback()); err == nil {
		t.Error("an IPv4 source for an IPv6 gateway")
	}
}

// The gateway sees the sources of a fleet.
func FuzzSources(f *testing.F) {
	for _, s := range []string{"3", "127.0.0.9", "127.0.0.0/8", "127.1.2.3/31", "255.255.255.255/32", "x"} {
		f.Add(s, uint32(7))
	}
	f.Fuzz(func(t *testing.T, s string, i uint32) {
		parsed, ok := sourceRange(s)
		if !ok {
			return
		}
		if p, err := netip.ParsePrefix(s); err == nil && !p.Contains(parsed.at(i)) {
			t.Fatalf("%s: %v is outside", s, parsed.at(i))
		}
	})
}

func TestTarget(t *testing.T) {
	for raw, want := range map[string]string{
		"ws://127.0.0.1:9":                       "127.0.0.1:9 /connect?device=| 127.0.0.1:9",
		"ws://127.0.0.1":                         "127.0.0.1:80 /connect?device=| 127.0.0.1",
		"http://[::1]:9/":                        "[::1]:9 /connect?device=| [::1]:9",
		"ws://127.0.0.1:9/a?expiry=0":            "127.0.0.1:9 /a?expiry=0&device=| 127.0.0.1:9",
		"ws://127.0.0.1:9/connect/{device}":      "127.0.0.1:9 /connect/| 127.0.0.1:9",
		"ws://127.0.0.1:9/{device}?clean=true":   "127.0.0.1:9 /|?clean=true 127.0.0.1:9",
		"ws://127.0.0.1:9/c?d={device}&expiry=1": "127.0.0.1:9 /c?d=|&expiry=1 127.0.0.1:9",
	} {
		got, err := parseTarget(raw)
		if s := got.addr.String() + " " + got.before + "|" + got.after + " " + got.host; err != nil || s != want {
			t.Errorf("%s: %s, %v, want %s", raw, s, err, want)
		}
	}
}

// Whatever the URL is, the request has one request line.
func FuzzTarget(f *testing.F) {
	f.Add("ws://h/connect/{device}")
	f.Add("ws://h/a b?c=%20 d\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		before, after, err := splitTarget(u)
		if err == nil && strings.ContainsAny(before+after, " \r\n") {
			t.Fatalf("%q: %q %q", raw, before, after)
		}
	})
}

func TestOutbox(t *testing.T) {
	o := new(outbox)
	send := func(window int) (ids []uint64) {
		for p := o.next(window); p != nil; p = o.next(window) {
			ids = append(ids, p.id)
		}
		return ids
	}
	expect := func(what string, got []uint64, want ...uint64) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: sends %v, want %v", what, got, want)
		}
	}
	for id := range uint64(6) {
		o.push(publication{id: id + 1})
	}
	expect("a window of 3", send(3), 1, 2, 3)
	o.remove(o.find(1))
	expect("one answer", send(3), 4)
	o.remove(o.find(3))
	expect("an answer out of order", send(3), 5)
	o.refuse(o.find(2))
	if o.find(2) >= 0 || o.stuck() {
		t.Error("a refusal is no end of the others")
	}
	o.remove(o.find(4))
	expect("a refusal", send(3))
	o.refuse(o.find(5))
	if !o.stuck() {
		t.Error("all were refused")
	}
	o.rewind()
	expect("after the pause", send(3), 2, 5, 6)
	if o.find(7) >= 0 {
		t.Error("finds what is not there")
	}
	for _, id := range []uint64{2, 5, 6} {
		o.remove(o.find(id))
	}
	if len(o.left()) != 0 || o.sent != 0 {
		t.Errorf("left: %+v", o)
	}
}

func TestOutboxPause(t *testing.T) {
	var o outbox
	for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		if o.pause(time.Hour); o.resume-time.Hour != want*time.Millisecond {
			t.Errorf("pause %d: %v, want %d ms", i, o.resume-time.Hour, want)
		}
	}
}

func TestBucket(t *testing.T) {
	b := bucket{rate: 100}
	for _, tt := range []struct {
		now  time.Duration
		want float64
	}{{0, 0}, {20 * time.Millisecond, 2}, {30 * time.Millisecond, 3}, {time.Hour, 10}} {
		if b.fill(tt.now); b.level < tt.want-1e-6 || b.level > tt.want+1e-6 {
			t.Errorf("at %v: %v tokens, want %v", tt.now, b.level, tt.want)
		}
	}
}
