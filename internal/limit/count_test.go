package limit

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func count(t testing.TB, c CountConfig) *Count {
	t.Helper()
	k, err := NewCount(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func source(s string) Source { return SourceOf(netip.MustParseAddr(s)) }

func TestSourceOf(t *testing.T) {
	same := [][2]string{
		{"192.0.2.1", "::ffff:192.0.2.1"},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::"},
	}
	for _, pair := range same {
		if source(pair[0]) != source(pair[1]) {
			t.Errorf("%s and %s are two", pair[0], pair[1])
		}
	}
	others := []string{"192.0.2.1", "192.0.2.2", "2001:db8:1:2::1", "2001:db8:1:3::1", "::1"}
	seen := make(map[Source]string)
	for _, s := range others {
		if was, ok := seen[source(s)]; ok {
			t.Errorf("%s and %s are one", was, s)
		}
		seen[source(s)] = s
	}
}

func TestCount(t *testing.T) {
	k := count(t, CountConfig{Node: 3, PerAddress: 2})
	a, b := source("192.0.2.1"), source("2001:db8::1")
	for i, tt := range []struct {
		s   Source
		err error
	}{{a, nil}, {a, nil}, {a, AddressFull}, {b, nil}, {b, NodeFull}} {
		if err := k.Acquire(tt.s); !errors.Is(err, tt.err) {
			t.Errorf("step %d: %v, want %v", i, err, tt.err)
		}
	}
	k.Release(a)
	if err := k.Acquire(b); err != nil {
		t.Errorf("a place was given back: %v", err)
	}
	s := k.Stats()
	if s.Connections != 3 || s.Addresses != 2 || s.Refused["node_connections"] != 1 || s.Refused["address_connections"] != 1 {
		t.Errorf("%+v", s)
	}
	for _, s := range []Source{a, b, b} {
		k.Release(s)
	}
	if len(k.sources) != 0 || k.node != 0 {
		t.Errorf("%d addresses and %d connections are left", len(k.sources), k.node)
	}
}

func TestCountUnlimited(t *testing.T) {
	k := count(t, CountConfig{})
	for i := range 1000 {
		if err := k.Acquire(Source(i)); err != nil {
			t.Fatal(err)
		}
	}
	if s := k.Stats(); s.Connections != 1000 || s.Addresses != 0 {
		t.Errorf("%+v: addresses that nobody limits are remembered", s)
	}
	k.Release(7)
	if k.Stats().Connections != 999 {
		t.Error("not released")
	}
}

func TestCountPrefixes(t *testing.T) {
	k := count(t, CountConfig{PerPrefix: []string{"m-=2", "m-test-=1", "banned-=0"}})
	for i, tt := range []struct {
		id  string
		err error
	}{
		{"m-1", nil}, {"m-test-1", nil}, {"m-test-2", PrefixFull}, // the longest prefix counts
		{"m-2", nil}, {"m-3", PrefixFull},
		{"banned-1", PrefixFull}, {"other", nil}, {"other", nil},
	} {
		if err := k.AcquireDevice(tt.id); !errors.Is(err, tt.err) {
			t.Errorf("step %d: %v, want %v", i, err, tt.err)
		}
	}
	k.ReleaseDevice("other")
	k.ReleaseDevice("m-1")
	if err := k.AcquireDevice("m-3"); err != nil {
		t.Error(err)
	}
	if s := k.Stats(); s.Prefixes["m-"] != 2 || s.Prefixes["m-test-"] != 1 || s.Refused["prefix_connections"] != 3 {
		t.Errorf("%+v", s)
	}
}

func TestCountRefusesPrefixes(t *testing.T) {
	for _, list := range []string{"", "=1", "m-", "m-=", "m-=-1", "m-=many", "m-=1 m-=2"} {
		if _, err := NewCount(CountConfig{PerPrefix: strings.Split(list, " ")}); err == nil {
			t.Errorf("%q is taken", list)
		}
	}
}

func TestCountUnderRace(t *testing.T) {
	k := count(t, CountConfig{Node: 5, PerAddress: 3, PerPrefix: []string{"m=2"}})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 500 {
				if s := Source(i % 2); k.Acquire(s) == nil {
					k.Release(s)
				}
				if k.AcquireDevice("m") == nil {
					k.ReleaseDevice("m")
				}
			}
		})
	}
	all.Wait()
	if s := k.Stats(); s.Connections != 0 || s.Addresses != 0 || s.Prefixes["m"] != 0 {
		t.Errorf("%+v is left", s)
	}
}

func BenchmarkCount(b *testing.B) {
	k := count(b, CountConfig{Node: 1 << 30, PerAddress: 100})
	for i := range 100_000 {
		if err := k.Acquire(Source(i)); err != nil {
			b.Fatal(err)
		}
	}
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			s := Source(i % 200_000)
			if k.Acquire(s) == nil {
				k.Release(s)
			}
		}
	})
}
