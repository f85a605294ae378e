package auth

import (
	"slices"
	"strings"
	"testing"

	"github.com/longline/longline/internal/reload"
)

func TestTokens(t *testing.T) {
	var w reload.Watcher
	file := written(t, "# the fleet\n\nm-7 "+hashed("one")+"\r\n  meter-* "+hashed("many")+"\tfactory\nx:CP:20* "+hashed("spaced")+"\n* "+hashed("all"))
	v, err := newTokens(file, &w)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ token, device, want string }{
		{"one", "", "m-7"},
		{"one", "m-7", "m-7"},
		{"one", "m-8", "m-7"}, // the chain refuses it
		{"many", "meter-1", "meter-1"},
		{"many", "meter-", "meter-"},
		{"many", "m-7", "refused: the credential belongs to another device"},
		{"many", "", "refused: the token is valid for several devices: the URL must name one"},
		{"all", "x", "x"},
		{"spaced", "x:CP:2001", "x:CP:2001"},
		{"spaced", "x:CP:7C01", "refused: the credential belongs to another device"},
		{"", "m-7", "not mine"},
		{"two", "m-7", "not mine"},
		{hashed("one"), "m-7", "not mine"},
	} {
		if got := asked(t, v, &Credentials{Bearer: tt.token, Device: tt.device}); got != tt.want {
			t.Errorf("token %q, device %q: %s, want %s", tt.token, tt.device, got, tt.want)
		}
	}
	i, _ := v.Verify(t.Context(), &Credentials{Bearer: "many", Device: "meter-1"})
	if i.Subject != "factory" || i.ID != hashed("many")[:len("sha256:")+16] {
		t.Errorf("got %+v", i)
	}

	rewrite(t, file, "m-7 "+hashed("one")+"\nm-8 two")
	w.Look()
	if got := asked(t, v, &Credentials{Bearer: "one"}); got != "m-7" || w.Failed() != 1 {
		t.Errorf("after a broken change: %s, %d failures", got, w.Failed())
	}
	rewrite(t, file, "m-8 "+hashed("two"))
	w.Look()
	if got := asked(t, v, &Credentials{Bearer: "one"}); got != "not mine" {
		t.Errorf("after its line was removed: %s", got)
	}
	if got := asked(t, v, &Credentials{Bearer: "two"}); got != "m-8" {
		t.Errorf("after its line was added: %s", got)
	}
}

func TestTokensFileErrors(t *testing.T) {
	for text, says := range map[string]string{
		"m-7":                                         "line 1: want a subject",
		"\n# x\nm-7 " + hashed("a") + " a b":          "line 3: want a subject",
		"m/7 " + hashed("a"):                          "line 1: device id has a character",
		"m*7 " + hashed("a"):                          "line 1: device id has a character",
		"m-7 " + hashed("a")[1:]:                      "line 1: want sha256:",
		"m-7 " + hashed("a") + "00":                   "line 1: want sha256:",
		"m-7 " + hashed("a")[:70] + "x":               "line 1: want sha256:",
		"m-7 " + hashed("a") + "\nm-8 " + hashed("a"): "line 2: the same token",
	} {
		if _, err := parseTokens([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%q: %v, want %s...", text, err, says)
		}
	}
}

// FuzzTokensFile checks the parsed entries against the lines: each entry belongs to a line, and a refused file
// leaves no entries.
func FuzzTokensFile(f *testing.F) {
	f.Add("m-7 " + hashed("a") + "\n# no\n* " + hashed("b") + " name")
	f.Add("m-7 sha256:\n")
	f.Add("read " + strings.ToUpper(hashed("a")))
	f.Add("m-7:$2y$05$abcdefghijklmnopqrstuuHn0tT1VY5P3vq8yqkZ2hbmG2K7o9qS6")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := parseTokens([]byte(text))
		if err == nil && len(table) > strings.Count(text, "sha256:") {
			t.Fatalf("%d tokens of %q", len(table), text)
		}
		for _, g := range table {
			if g.name == "" || !strings.Contains(text, g.subject) || strings.ContainsAny(g.subject, "/+# \t") {
				t.Fatalf("%+v of %q", g, text)
			}
		}
		if roles, err := parseRoles([]byte(text)); err == nil {
			for _, c := range roles {
				if c.Role == NoRole || len(c.services) > 0 && c.Role != Serve {
					t.Fatalf("%+v", c)
				}
			}
		}
		users, err := parseUsers([]byte(text))
		if err == nil && len(users) > strings.Count(text, ":") {
			t.Fatalf("%d users of %q", len(users), text)
		}
	})
}

func TestRoles(t *testing.T) {
	var w reload.Watcher
	file := written(t, "read "+hashed("r")+" grafana\noperate "+hashed("o")+"\nadmin "+hashed("a")+"\nserve "+hashed("s")+"\nserve:billing,grid "+hashed("b"))
	roles, err := OpenRoles(file, &w)
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]Role{"r": Read, "s": Serve, "b": Serve, "o": Operate, "a": Admin, "x": NoRole, "": NoRole} {
		c, err := roles.Authorize(token)
		if c.Role != want || (err == nil) != (want != NoRole) || (c.Name == "") != (want == NoRole) || (c.ID == "") != (want == NoRole) {
			t.Errorf("%q: %+v, %v; want %v", token, c, err, want)
		}
	}
	if c, _ := roles.Authorize("r"); c.Name != "grafana" {
		t.Errorf("the name is %q", c.Name)
	}
	rewrite(t, file, "operate "+hashed("r"))
	w.Look()
	if c, _ := roles.Authorize("r"); c.Role != Operate {
		t.Errorf("after a change: %v", c.Role)
	}
	for text, want := range map[string]string{
		"root " + hashed("x"):           "line 1: want one of read, serve, operate, admin",
		"none " + hashed("x"):           "line 1: want one of read, serve, operate, admin",
		"admin:billing " + hashed("x"):  "line 1: only the role serve is followed by names of services",
		"serve: " + hashed("x"):         "line 1: want names of services behind serve:",
		"serve:billing, " + hashed("x"): "line 1: want names of services behind serve:",
	} {
		if _, err := OpenRoles(written(t, text), &w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhatARoleAllows(t *testing.T) {
	may := map[Role][]Role{
		NoRole:  {NoRole},
		Read:    {NoRole, Read},
		Serve:   {NoRole, Serve},
		Operate: {NoRole, Read, Serve, Operate},
		Admin:   {NoRole, Read, Serve, Operate, Admin},
	}
	for has, allowed := range may {
		for needs := NoRole; needs <= Admin; needs++ {
			if got := has.Allows(needs); got != slices.Contains(allowed, needs) {
				t.Errorf("%v allows what needs %v: %t", has, needs, got)
			}
		}
	}
	for _, c := range []struct {
		caller Caller
		serves string // among billing, grid, other
	}{
		{Caller{Role: Read}, ""},
		{Caller{Role: Serve}, "billing grid other"},
		{Caller{Role: Serve, services: []string{"billing", "grid"}}, "billing grid"},
		{Caller{Role: Operate}, "billing grid other"},
	} {
		for _, service := range []string{"billing", "grid", "other"} {
			if got := c.caller.Serves(service); got != strings.Contains(c.serves, service) {
				t.Errorf("%+v serves %s: %t", c.caller, service, got)
			}
		}
	}
}
