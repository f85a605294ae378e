package auth

import (
	"context"
	"strings"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/topic"
)

// tokens verifies bearer tokens that are listed in a file.
type tokens struct {
	file *reload.File[map[digest]grant]
}

func newTokens(file string, w *reload.Watcher) (*tokens, error) {
	f, err := reload.Open(w, file, parseTokens)
	return &tokens{f}, err
}

// onWithdrawn makes t call f with the IDs of tokens that were removed, or belong to another device now.
func (t *tokens) onWithdrawn(f func(ids []string)) {
	t.file.OnChange(func(old, now map[digest]grant) {
		var ids []string
		for d, g := range old {
			if now[d].subject != g.subject {
				ids = append(ids, d.id())
			}
		}
		f(ids)
	})
}

// parseTokens reads lines of a device pattern and a digest. A pattern is a device id, or the
// beginning of one and "*".
func parseTokens(text []byte) (map[digest]grant, error) {
	return parseGrants(text, func(pattern string) error {
		if beginning, wild := strings.CutSuffix(pattern, "*"); wild {
			return topic.ValidateDevicePrefix(beginning)
		}
		return topic.ValidateDevice(pattern)
	})
}

// Verify returns ErrNotMine for tokens that are not in the file: they may be of another kind.
func (t *tokens) Verify(_ context.Context, c *Credentials) (*Identity, error) {
	if c.Bearer == "" {
		return nil, ErrNotMine
	}
	d := digestOf(c.Bearer)
	g, ok := t.file.Get()[d]
	if !ok {
		return nil, ErrNotMine
	}
	device := g.subject
	if beginning, wild := strings.CutSuffix(device, "*"); wild {
		switch {
		case c.Device == "":
			return nil, refuse("the token is valid for several devices: the URL must name one")
		case !strings.HasPrefix(c.Device, beginning):
			return nil, errOtherDevice
		}
		device = c.Device
	}
	return &Identity{Device: device, Subject: g.name, ID: d.id()}, nil
}
