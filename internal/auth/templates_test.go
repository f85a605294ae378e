package auth

import (
	"fmt"
	"runtime"
	"testing"
)

// The permissions of a fleet, whose tokens differ only in the device's id, are one object. Each device still has only its own
// topics.
func TestTemplatesAreShared(t *testing.T) {
	var all templates
	of := func(device string, publish, subscribe []string) *Permissions {
		p, err := all.of(Filters{Publish: publish, Subscribe: subscribe}, device)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := of("m-1", []string{"site/7/m-1/#"}, []string{"m-1/+/x", "all/#"})
	second := of("m-2", []string{"site/7/m-2/#"}, []string{"m-2/+/x", "all/#"})
	if first != second {
		t.Error("two of a fleet do not share")
	}
	if of("m-3", []string{"site/7/{device}/#"}, []string{"{device}/+/x", "all/#"}) != first {
		t.Error("one that says {device} does not share")
	}
	if of("m-1", []string{"site/7/m-2/#"}, []string{"m-1/+/x", "all/#"}) == first {
		t.Error("who may do another's is taken for one of the fleet")
	}
	if of("m-1", nil, []string{"a", "b"}) == of("m-1", []string{"a"}, []string{"b"}) {
		t.Error("the lists are mixed up")
	}
	for device, want := range map[string]bool{"m-1": true, "m-2": false} {
		if got := first.MayPublish(device, "site/7/m-1/up"); got != want {
			t.Errorf("%s may publish m-1's: %v", device, got)
		}
		if got := second.MaySubscribe(device, "m-1/a/x"); got != want {
			t.Errorf("%s may subscribe to m-1's: %v", device, got)
		}
	}
	if of("", []string{"site//up"}, nil).MayPublish("m-1", "site/m-1/up") {
		t.Error("an empty level is taken for the id of a credential that names no device")
	}
	if _, err := all.of(Filters{Publish: []string{"a/#/b"}}, "m-1"); err == nil {
		t.Error("a filter that is none is taken")
	}
}

// A device of a fleet costs next to nothing, and only a bounded number of different permissions is remembered.
func TestTemplatesTakeLittle(t *testing.T) {
	const devices = 10_000
	var all templates
	kept := make([]*Permissions, devices)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range kept {
		device := fmt.Sprint("m-", i)
		p, err := all.of(Filters{Publish: []string{"device/" + device + "/#"}, Subscribe: []string{"device/" + device + "/#", "broadcast/#"}}, device)
		if err != nil {
			t.Fatal(err)
		}
		kept[i] = p
	}
	if grown := int64(heap()) - int64(before); grown > 150*devices {
		t.Errorf("%d devices take %d bytes, want at most 150 each", devices, grown)
	}
	runtime.KeepAlive(kept)
	for i := range 2 * maxTemplates {
		if _, err := all.of(Filters{Publish: []string{fmt.Sprint("topic/", i)}}, "m"); err != nil {
			t.Fatal(err)
		}
	}
	if len(all.byText) > maxTemplates {
		t.Errorf("%d are remembered", len(all.byText))
	}
}
