//go:build servers || long

// Package cluster tests parts of a cluster with a real Redis.
package cluster

import (
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/cluster/revoked"
	"github.com/longline/longline/test/servers"
)

func TestRevokedInRedis(t *testing.T) {
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{servers.Redis(t).Address()}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	table := revoked.InRedis(client, "ll:test:")
	version := func() uint64 {
		n, err := table.Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := version(); n != 0 {
		t.Errorf("an empty set has the number %d", n)
	}
	until := time.UnixMilli(time.Now().Add(time.Hour).UnixMilli())
	device, token := auth.Bearer{Device: "m-1"}, auth.Bearer{Credential: "m-1"}
	steps := []struct {
		name  string
		who   auth.Bearer
		until time.Time
		want  []revoked.Entry
	}{
		{"a device", device, until, []revoked.Entry{{Bearer: device, Until: until}}},
		{"a credential", token, until.Add(1), []revoked.Entry{{Bearer: token, Until: until}, {Bearer: device, Until: until}}},
		{"lifted", token, time.Now(), []revoked.Entry{{Bearer: token, Until: until, Lifted: true}, {Bearer: device, Until: until}}},
		{"again", token, until, []revoked.Entry{{Bearer: token, Until: until}, {Bearer: device, Until: until}}},
		{"lifted, and unknown", auth.Bearer{Device: "x"}, time.Now(), []revoked.Entry{{Bearer: token, Until: until}, {Bearer: device, Until: until}}},
	}
	for _, s := range steps {
		before := version()
		if err := table.Set(t.Context(), s.who, s.until); err != nil {
			t.Fatal(s.name, err)
		}
		if version() <= before {
			t.Errorf("%s: the number did not rise", s.name)
		}
		var got []revoked.Entry
		for from := 0; ; from++ {
			page, err := table.Page(t.Context(), from, 1)
			if err != nil {
				t.Fatal(s.name, err)
			}
			if got = append(got, page...); len(page) == 0 {
				break
			}
		}
		if len(got) != len(s.want) {
			t.Fatalf("%s: got %v, want %v", s.name, got, s.want)
		}
		for _, w := range s.want {
			found := false
			for _, g := range got {
				found = found || g.Bearer == w.Bearer && g.Lifted == w.Lifted && g.Until.Equal(w.Until)
			}
			if !found {
				t.Errorf("%s: got %v, want %v among them", s.name, got, w)
			}
		}
	}
}
