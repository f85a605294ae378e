package disk

import "github.com/longline/longline/internal/store"

// medium is the store.Medium of a Store.
type medium struct {
	*intake
	state *state
}

// Progress implements store.Medium.
func (m medium) Progress() (appended, applied uint64) {
	applied = m.state.reached.Load() // first, so that it is not ahead
	return m.appended(), applied
}

// Read implements store.Medium.
func (m medium) Read(p *store.Page) error { return m.state.read(p) }
