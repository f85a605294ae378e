package auth

import (
	"slices"
	"strings"
	"testing"
)

func permitted(t *testing.T, publish, subscribe string) *Permissions {
	t.Helper()
	p, err := NewPermissions(Filters{Publish: strings.Fields(publish), Subscribe: strings.Fields(subscribe)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDefaultPermissions(t *testing.T) {
	p, err := NewPermissions(Filters{}.WithDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"device/m-7":       true,
		"device/m-7/up":    true,
		"device/m-7/a/b/c": true,
		"device/m-70/up":   false,
		"device/m-8/up":    false,
		"device":           false,
		"broadcast/x":      false,
		"$presence/m-7":    false,
	} {
		if p.MayPublish("m-7", name) != want {
			t.Errorf("publish to %s: want %v", name, want)
		}
	}
	for filter, want := range map[string]bool{
		"device/m-7/#":             true,
		"device/m-7/+/x":           true,
		"device/m-7":               true,
		"broadcast/#":              true,
		"broadcast/+":              true,
		"device/+/down":            false,
		"device/#":                 false,
		"device/m-8/#":             false,
		"#":                        false,
		"+/m-7/#":                  false,
		"$presence/#":              false,
		"$share/g/device/m-7/#":    true,
		"$share/g/device/m-8/#":    false,
		"$share/g":                 false,
		"$share/g/":                false,
		"$share/device/m-7/down":   false,
		"$share/broadcast/#":       false,
		"$share/g/$share/h/device": false,
	} {
		if p.MaySubscribe("m-7", filter) != want {
			t.Errorf("subscribe to %s: want %v", filter, want)
		}
	}
}

func TestConfiguredPermissions(t *testing.T) {
	p := permitted(t, "+/{device}/up {device}/log/# site/{device}/from/{device}", "{device} fleet/+/{device}")
	for name, want := range map[string]bool{
		"meter/m-7/up":       true,
		"meter/m-8/up":       false,
		"$meter/m-7/up":      false,
		"m-7/log":            true,
		"m-7/log/a":          true,
		"m-8/log/a":          false,
		"site/m-7/from/m-7":  true,
		"site/m-7/from/m-8":  false,
		"site/m-8/from/m-7":  false,
		"site/m-7/from":      false,
		"site/{device}/from": false,
	} {
		if p.MayPublish("m-7", name) != want {
			t.Errorf("publish to %s: want %v", name, want)
		}
	}
	for filter, want := range map[string]bool{"m-7": true, "+": false, "fleet/+/m-7": true, "fleet/b/m-7": true, "fleet/+/+": false, "fleet/#": false} {
		if p.MaySubscribe("m-7", filter) != want {
			t.Errorf("subscribe to %s: want %v", filter, want)
		}
	}
}

func TestEmptyPermitsNothing(t *testing.T) {
	p := permitted(t, "", "")
	if p.MayPublish("m-7", "device/m-7/up") || p.MaySubscribe("m-7", "device/m-7/#") {
		t.Error("an empty list permits something")
	}
}

func TestNewPermissionsRefuses(t *testing.T) {
	for says, f := range map[string]Filters{
		`publish: "a/#/b": filter level 2`: {Publish: []string{"ok", "a/#/b"}},
		"subscribe: \"x-{device}\"":        {Subscribe: []string{"x-{device}"}},
		`publish: "": filter is empty`:     {Publish: []string{""}},
		"publish: more than 64":            {Publish: slices.Repeat([]string{"a"}, 65)},
	} {
		if _, err := NewPermissions(f); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("got %v, want %s...", err, says)
		}
	}
}

func TestMayPublishAllocatesNothing(t *testing.T) {
	p := permitted(t, "a/# +/{device}/up site/{device}/from/{device}", "broadcast/# {device}/#")
	i := &Identity{Device: "m-7", Permissions: p}
	if n := testing.AllocsPerRun(100, func() {
		if !i.MayPublish("site/m-7/from/m-7") || !i.MaySubscribe("$share/g/m-7/down") {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMayCall(t *testing.T) {
	for _, c := range []struct {
		call []string
		name string
		want bool
	}{
		{nil, "billing", false},
		{[]string{"billing", "grid"}, "grid", true},
		{[]string{"billing"}, "bill", false},
		{[]string{"billing"}, "*", false},
		{[]string{"*"}, "billing", true},
		{Filters{}.WithDefaults().Call, "billing", true},
	} {
		p, err := NewPermissions(Filters{Call: c.call})
		if err != nil {
			t.Fatal(err)
		}
		if p.MayCall(c.name) != c.want {
			t.Errorf("%q may call %s: want %v", c.call, c.name, c.want)
		}
	}
	for _, wrong := range []string{"", "a*", "a/b", strings.Repeat("a", 65)} {
		if _, err := NewPermissions(Filters{Call: []string{wrong}}); err == nil || !strings.HasPrefix(err.Error(), "call: ") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	var all templates
	one, _ := all.of(Filters{Call: []string{"a"}}, "m-1")
	other, _ := all.of(Filters{Call: []string{"b"}}, "m-1")
	if one == other || one.MayCall("b") || !other.MayCall("b") {
		t.Error("credentials with other services share permissions")
	}
}
